"""The recipe of the tests: everything as small as it goes. Tests that want more of something change that alone."""

from plankseg.config import InferenceConfig, NetworkConfig, QueryConfig, Recipe, RoundsConfig, TrainingConfig

TINY = Recipe(
    network=NetworkConfig(encoder="tu-test_resnet", encoder_weights="none"),
    training=TrainingConfig(
        side_px=32, epochs=1, batch_size=4, draws_per_epoch=8, loader_workers=0, precision="fp32", holdout_fraction=0.3
    ),
    query=QueryConfig(batch_size=5, batches=4),
    rounds=RoundsConfig(budget=2),
    inference=InferenceConfig(backend="torch"),  # two stores are often compared: a clock must not choose for each
)
TINY_ROUNDS = Recipe(
    network=TINY.network,
    training=TrainingConfig(
        side_px=32, epochs=3, batch_size=8, learning_rate=1e-3, draws_per_epoch=24, loader_workers=0, precision="fp32"
    ),
    query=QueryConfig(batches=3),
    rounds=TINY.rounds,
    inference=TINY.inference,
)
"""For whole rounds: three epochs to be killed between, and rounds of twenty images."""
