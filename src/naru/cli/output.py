"""Listings: tables with Docker's column spacing, ids only, JSON lines, or a template."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEAST, _GAP = 10, 3


def table(lines: Sequence[Sequence[str]], least: int = _LEAST, gap: int = _GAP) -> str:
    """Lines of cells as aligned text, the last cell of each line unpadded."""
    if not lines:
        return ""
    count = max(len(line) for line in lines)
    widths = [
        max(least, max((len(line[at]) for line in lines if at < len(line) - 1), default=0) + gap)
        for at in range(count)
    ]
    return "".join(
        "".join(cell.ljust(widths[at]) for at, cell in enumerate(line[:-1])) + line[-1] + "\n"
        for line in lines
        if line
    )


def listing(
    rows: Sequence[Mapping[str, object]],
    headers: Mapping[str, str],
    columns: Sequence[str],
    form: str = "",
    *,
    kind: str = "",
) -> str:
    """The text of a list command.

    `form` is --format's value: "" or `table` for the given columns, `json`, `table TEMPLATE`
    or a template. `kind` is what Go calls the row, in the error about an unknown field.
    """
    if form in ("", "table"):
        lines = [[headers[name] for name in columns]]
        lines += [[str(row[name]) for name in columns] for row in rows]
        return table(lines)
    from naru.cli.template_values import Row, TemplateError
    from naru.cli.templates import Template

    if form == "json":
        form = "{{json .}}"
    with_header = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
        shown = [template.run(Row(row), root=f"*{kind}") for row in rows]
        if with_header:
            shown.insert(0, template.run(_Headers(headers)))
    except TemplateError as error:
        if "executing" in error.message:
            error.message = f"template parsing error: {error.message}"
        raise
    if with_header:
        return table([line.split("\t") for text in shown for line in text.split("\n")])
    return "".join(line + "\n" for line in shown)


class _Headers(dict[str, "object"]):
    """Headers by field; a method such as `.Label "x"` gives the label's last part."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self["Label"] = lambda name: name.rpartition(".")[2].replace("-", " ").replace("_", " ")
