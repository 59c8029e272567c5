"""What was measured while training ran, by optimizer step: learning rate, gradient norm, speed."""

from src.report.chart import Line, line_chart, thinned
from src.report.markup import grid, paragraph, section
from src.report.read import RunFiles, series

_CHARTS = (
    ("Learning rate", "learning rate", (("train/learning_rate", "learning rate"),)),
    ("Gradient norm", "norm before clipping", (("train/gradient_norm", "norm before clipping"),)),
    (
        "Speed",
        "tokens per second",
        (("throughput/recent_tokens_per_second", "recent"), ("throughput/tokens_per_second", "mean of the epoch")),
    ),
    ("Share of the peak", "MFU", (("throughput/mfu_palm", "PaLM count"), ("throughput/mfu_causal", "causal count"))),
)


def steps_section(files: RunFiles) -> str:
    """One chart per thing that metrics.csv holds; long ones are thinned to their lowest and highest points."""
    charts = []
    for title, y_name, names in _CHARTS:
        lines = [Line(words, *thinned(*series(files.rows, name, axis="step"))) for name, words in names]
        charts.append(line_chart(lines, title=title, x_name="step", y_name=y_name))
    if not any(charts):
        return ""
    skipped = files.record.result.get("skipped_steps")
    words = f"{skipped} steps were skipped, because their gradient was not finite." if skipped else ""
    return section("Optimization", paragraph(words, kind="bad") if words else "", grid(*charts, kind="three"))
