#!/usr/bin/env bash
# Runs a server whose talk goes to a file: logged.sh NAME COMMAND ...; where it fails, the end of the file is shown.
set -uo pipefail
umask 077
log=${PLANKSEG_DIR:?}/logs/$1.log
shift
mkdir -p "${log%/*}"
[ ! -e "$log" ] || mv "$log" "$log.before"
stopping=
trap 'stopping=yes' TERM INT
"$@" >"$log" 2>&1 </dev/null &
child=$!
wait "$child"
status=$?
while [ -n "$stopping" ] && kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
done
if [ -z "$stopping" ]; then
    echo "It ended with exit status $status. The end of $log:"
    tail -n 20 "$log"
fi
exit "$status"
