// What plankseg adds to Label Studio's pages, so that clicks, the brush and a round's tab work without a setting. Nothing here is needed
// for a mask to be right: where Label Studio's own objects differ, each part leaves Label Studio as it is.
(() => {
  const ASKS_ASSISTANT = /\/api\/ml\/\d+\/interactive-annotating/;
  const DRAWN = ["brushlabels", "polygonlabels"];
  const PAINTING = ["BrushTool", "EraserTool"];
  const STARTING_WIDTH_PX = 30;

  // Both switches are off in a new browser, and Label Studio turns the first one off in projects without an assistant.
  localStorage.setItem("autoAnnotation", "true");
  localStorage.setItem("autoAcceptSuggestions", "true");
  if (localStorage.getItem("selected-tool:image") === null) {
    localStorage.setItem("selected-tool:image", "KeyPointTool-dynamic");
  }

  // *Label All Tasks* serves the tasks of the tab that is open, in its order; Label Studio would serve all of the project.
  const STREAM = "dm:labelstream:mode";
  const write = Storage.prototype.setItem;
  Storage.prototype.setItem = function (name, value) {
    write.call(this, name, name === STREAM && value === "all" ? "filtered" : value);
  };
  if (localStorage.getItem(STREAM) === "all") localStorage.setItem(STREAM, "filtered");

  // They are on, so they need no room beside Submit.
  const style = document.createElement("style");
  style.textContent = ".lsf-auto-accept__wrapper, .lsf-dynamic-preannotations, .plankseg-switches { display: none !important; }";
  document.documentElement.append(style);

  const annotation = () => window.Htx?.annotationStore?.selected;

  const attempt = (what, action) => {
    try {
      return action();
    } catch (error) {
      console.warn(`plankseg: ${what}`, error);
      return undefined;
    }
  };

  const show = (message) =>
    attempt("no message can be shown", () => window.dataManager?.invoke("toast", { message, type: "error" }));

  const drawn = () =>
    annotation().serializeAnnotation().filter((item) => DRAWN.includes(item.type) && !("x" in item.value));

  // The assistant must see the strokes of a moment ago: Label Studio sends the click alone, and saves drafts every 5 s.
  const withMask = (options, regions) => {
    const body = JSON.parse(options.body);
    body.context.result = [...body.context.result, ...regions];
    body.context.drawn = true;
    return { ...options, body: JSON.stringify(body) };
  };

  // What was painted while the assistant answered is in no answer, and must not be replaced by one.
  const isChanged = async (regions) => {
    while (annotation()?.isDrawing) await new Promise((resolve) => setTimeout(resolve, 50));
    return attempt("whether the mask changed", () => JSON.stringify(drawn()) !== JSON.stringify(regions)) ?? false;
  };

  // An answer without suggestions removes the click and changes nothing; Label Studio itself would keep the click.
  const answered = async (response, regions) => {
    const body = await response.clone().json().catch(() => null);
    if (body === null) {
      show("Label Studio gave no answer to the click; the mask is unchanged. Reload the page if that stays so.");
      return unchanged();
    }
    let failed = null;
    if (body.errors?.length) failed = "The assistant does not answer; the mask is unchanged. Paint, or click again.";
    else if (body.data?.result?.length && regions && (await isChanged(regions))) {
      failed = "The mask was changed while the assistant answered; that change is kept. Click again.";
    }
    const message = failed ?? body.data?.message;
    if (message) show(message);
    return failed ? unchanged() : response;
  };

  const unchanged = () =>
    new Response(JSON.stringify({ data: { result: [] } }), { status: 200, headers: { "Content-Type": "application/json" } });

  const send = window.fetch.bind(window);
  window.fetch = async (address, options) => {
    if (!ASKS_ASSISTANT.test(String(address?.url ?? address))) return send(address, options);
    const regions = attempt("the mask cannot be sent along", drawn);
    // While Label Studio is restarted it does not answer at all; its own page would say nothing and keep the click.
    const response = await send(address, regions ? withMask(options, regions) : options).catch((error) => {
      if (error?.name === "AbortError") throw error; // the page itself no longer wants the answer
      return null;
    });
    if (response?.ok) return answered(response, regions);
    const why = response ? `Label Studio refused the click (${response.status})` : "Label Studio does not answer";
    show(`${why}; the mask is unchanged. Nothing on the screen is lost: click again in a moment, or reload if that stays so.`);
    return unchanged();
  };

  // Which image of the round this is, in the row of the labels: text, never markup.
  const tellWhich = () => {
    const row = document.querySelector(".plankseg-help")?.nextElementSibling;
    const data = window.Htx?.task?.dataObj;
    if (!row || !data) return;
    const folders = String(data.file ?? "").split("/").slice(0, -1);
    const taxon = folders.includes(data.taxon) ? null : data.taxon; // not twice, where its folder has its name
    const words = [data.rank && `image ${data.rank} of ${data.ranks}`, data.round && `round ${data.round}`, taxon, data.file];
    const text = words.filter(Boolean).join(" · ");
    let told = row.querySelector(".plankseg-which");
    if (!told) {
      told = document.createElement("span");
      told.className = "plankseg-which";
      told.style.cssText = "margin-left: auto; max-width: 50%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;";
      row.append(told);
    }
    if (told.textContent !== text) told.title = told.textContent = text;
  };
  setInterval(() => attempt("the image is not named", tellWhich), 300);

  // After the last image Label Studio says that its queue is empty, and not what happens now.
  const NEXT =
    "All images of this tab are done. When a round is complete, the next model is trained automatically, for some minutes. If " +
    "another round follows, it gets a tab at the far left of the project's list of images: go there and reload. If none comes, " +
    "open rounds on the page Artifacts of Prefect: it says what is next. If these were images of annotate_validation or of an audit, " +
    "run that flow again.";
  const tellNext = () => {
    const told = document.querySelector(".lsf-sub__result");
    if (!told || told.textContent === NEXT) return;
    told.textContent = NEXT;
    told.style.cssText = "max-width: 36em; text-align: center;";
  };
  setInterval(() => attempt("what comes next is not told", tellNext), 300);

  // Brush and eraser work on the mask at once. Label Studio does nothing, silently, while no region or label is chosen.
  const chooseMask = (event) => {
    const chosen = annotation();
    const tool = selectedTool();
    if (!chosen || !tool || tool.dynamic || !PAINTING.includes(tool.toolName)) return;
    if (!event.target.closest?.(".konvajs-content") || chosen.isReadOnly()) return;
    localStorage.setItem(`plankseg-width:${tool.toolName}`, tool.strokeWidth);
    if (chosen.selectedRegions.length) return;
    const mask = chosen.regions.find((region) => region.type === "brushregion" && !region.isReadOnly() && !region.hidden);
    if (mask) chosen.selectArea(mask);
    else if (tool.toolName === "BrushTool") chosen.names.get("mask").children[0].setSelected(true);
  };

  // A wide brush to begin with, then as wide as it was last: Label Studio goes back to 15 px with each task.
  const widened = new WeakSet();
  const widen = () => {
    const tool = selectedTool();
    if (tool?.dynamic && !window.Htx.hasInterface("auto-annotation")) takeBrush(); // a project without an assistant
    if (!tool || tool.dynamic || !PAINTING.includes(tool.toolName) || widened.has(tool)) return;
    widened.add(tool);
    tool.setStroke(Number(localStorage.getItem(`plankseg-width:${tool.toolName}`)) || STARTING_WIDTH_PX);
  };

  const takeBrush = () => {
    const manager = annotation().names.get("image").getToolsManager();
    const brush = manager.allTools().find((tool) => tool.fullName === "BrushTool");
    if (brush) manager.selectTool(brush, true);
  };

  const selectedTool = () => annotation()?.names?.get("image")?.getToolsManager?.().findSelectedTool();

  // A click on a mask asks the assistant too: Label Studio would choose or unchoose the region instead.
  const clickThrough = () => {
    const tool = selectedTool();
    if (tool?.dynamic && tool.toolName === "KeyPointTool") annotation().names.get("image").setSkipInteractions(true);
  };

  // M takes the clicks, and pressed again the box. Label Studio's own key goes on from the tool of when the page opened.
  const takeClicks = (event) => {
    const isTyping = /^(input|textarea|select)$/i.test(event.target.tagName ?? "") || event.target.isContentEditable;
    if (event.key.toLowerCase() !== "m" || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || isTyping) return;
    const manager = annotation()?.names?.get("image")?.getToolsManager?.();
    const wanted = selectedTool()?.fullName === "KeyPointTool-dynamic" ? "RectangleTool-dynamic" : "KeyPointTool-dynamic";
    const tool = manager?.allTools().find((candidate) => candidate.fullName === wanted);
    if (!tool || !window.Htx.autoAnnotation) return;
    manager.selectTool(tool, true);
    event.stopImmediatePropagation();
    event.preventDefault();
  };
  window.addEventListener("keydown", (event) => attempt("M takes no clicks", () => takeClicks(event)), true);

  for (const kind of ["pointerup", "mouseup"]) {
    window.addEventListener(kind, () => attempt("a click on a mask chooses it", clickThrough), true);
  }
  for (const kind of ["pointerdown", "mousedown"]) {
    window.addEventListener(kind, (event) => attempt("the mask is not chosen", () => chooseMask(event)), true);
  }
  for (const kind of ["pointermove", "keyup", "click"]) {
    window.addEventListener(kind, () => attempt("the brush keeps its width", widen), true);
  }
})();
