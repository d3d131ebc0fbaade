"""A stack of layers drawn with characters, for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from naru.engine.images.progress import human_size
from naru.engine.storage.stack import Layer, Owner, Stack, Touch, Trace, below, owners
from naru.store.driver import ChangeKind

_SIGNS = {ChangeKind.ADDED: "+", ChangeKind.MODIFIED: "~", ChangeKind.DELETED: "−"}
_OWN_LINES = 40
_LEAST_WIDTH = 60


def draw(stack: Stack, width: int = 100) -> str:
    """The whole stack, topmost layer first, `width` columns wide."""
    width = max(width, _LEAST_WIDTH)
    seen = owners(stack)
    lines = [_heading(stack), *_merged(stack, seen), ""]
    for number, (layer, owner) in enumerate(zip(stack.layers, seen, strict=True)):
        lines.append(_edge("┌" if number == 0 else "├", _caption(layer), _weight(layer), width))
        lines += [_cut(f"│  {line}", width) for line in _inside(stack, number, owner)]
    if stack.layers:
        lines += ["└" + "─" * (width - 1), _legend(stack)]
    else:
        lines.append("(no layers)")
    return "\n".join(lines) + "\n"


def draw_traces(stack: Stack, traces: Sequence[Trace]) -> str:
    """For each path the layers from the top, and which of them is seen."""
    blocks = []
    for found in traces:
        lines = [_verdict(stack, found)]
        titles = [layer.title for layer in stack.layers]
        column = max((len(title) for title in titles), default=0)
        for step in found.steps:
            lines.append(f"  {titles[step.layer]:<{column}}  {_said(stack, found, step.layer)}")
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _heading(stack: Stack) -> str:
    short = stack.id.removeprefix("sha256:")[:12]
    name = "" if stack.name == short else f"{stack.name}  "
    return f"{stack.kind} {name}{short}  on {stack.driver}"


def _merged(stack: Stack, seen: Sequence[Owner]) -> Iterator[str]:
    yield f"mounted  {stack.merged}" if stack.merged else "mounted  not now"
    files = sum(owner.files for owner in seen)
    size = sum(owner.bytes for owner in seen)
    yield f"seen     {_files(files)}, {human_size(size)}, from {_layers(len(stack.layers))}"


def _caption(layer: Layer) -> str:
    parts = [layer.title]
    if layer.diff_id:
        parts.append(layer.diff_id[7:19])
    if layer.created_by:
        parts.append(command(layer.created_by))
    return "  ".join(parts)


def command(created_by: str) -> str:
    """A history's `created_by` without the words that are the same in all of them."""
    text = " ".join(created_by.split())
    for prefix in ("/bin/sh -c #(nop) ", "/bin/sh -c "):
        text = text.removeprefix(prefix)
    return text.removesuffix(" # buildkit").strip()


def _weight(layer: Layer) -> str:
    return human_size(layer.size)


def _edge(corner: str, caption: str, right: str, width: int) -> str:
    room = width - len(right) - 8
    caption = _cut(caption, room)
    return f"{corner}─ {caption} {'─' * (room - len(caption))}─ {right} ─"


def _inside(stack: Stack, number: int, owner: Owner) -> Iterator[str]:
    layer = stack.layers[number]
    if not layer.touches:
        yield "nothing" if layer.role == "container" else "nothing of its own"
        return
    if layer.role == "container":
        yield from _tree(stack, number)
        return
    counts = [
        f"{sign}{layer.count(kind)}" for kind, sign in _SIGNS.items() if layer.count(kind)
    ] or ["directories only"]
    seen = f"{owner.files} of its files are seen" if owner.files else "none of its files is seen"
    yield f"{' '.join(counts)} files; {seen}"
    yield from _places(layer)


def _places(layer: Layer) -> Iterator[str]:
    """Where in the tree a layer's files are: its busiest directories."""
    found: dict[str, int] = {}
    for touch in layer.touches:
        if not touch.directory:
            top = "/" + touch.path.split("/")[1]
            found[top] = found.get(top, 0) + 1
    busiest = sorted(found, key=lambda top: (-found[top], top))
    if busiest:
        more = f"  … {len(busiest) - 6} more" if len(busiest) > 6 else ""
        yield "  ".join(f"{top} {found[top]}" for top in busiest[:6]) + more


def _tree(stack: Stack, number: int) -> Iterator[str]:
    """The changes of a container as the tree that they are in."""
    layer = stack.layers[number]
    root: dict[str, dict[str, object]] = {}
    for touch in layer.touches:
        at: dict[str, object] = root  # type: ignore[assignment]
        for part in touch.path.strip("/").split("/"):
            at = at.setdefault(part, {})  # type: ignore[assignment]
    lines = list(_branches(stack, number, root, "", ""))  # type: ignore[arg-type]
    yield from lines[:_OWN_LINES]
    if len(lines) > _OWN_LINES:
        yield f"… and {len(lines) - _OWN_LINES} more"


def _branches(
    stack: Stack, number: int, node: dict[str, object], path: str, indent: str
) -> Iterator[str]:
    layer = stack.layers[number]
    for position, name in enumerate(sorted(node)):
        last = position == len(node) - 1
        here, inside = f"{path}/{name}", node[name]
        touch = layer.by_path.get(here)
        label = name + ("/" if inside or (touch is not None and touch.directory) else "")
        note = _note(stack, number, touch) if touch is not None else ""
        sign = f"{_SIGNS[touch.kind]} " if touch is not None and _own(touch) else ""
        yield f"{indent}{'└─ ' if last else '├─ '}{sign}{label}{note}"
        assert isinstance(inside, dict)
        yield from _branches(stack, number, inside, here, indent + ("   " if last else "│  "))


def _own(touch: Touch) -> bool:
    """A directory that is there only for what is in it needs no sign."""
    return not (touch.directory and touch.kind == ChangeKind.MODIFIED)


def _note(stack: Stack, number: int, touch: Touch) -> str:
    if touch.directory:
        return ""
    origin = below(stack, number, touch.path)
    where = stack.layers[origin].title if origin is not None else ""
    size = f"  {human_size(touch.size)}" if touch.size else ""
    if touch.kind == ChangeKind.DELETED:
        return f"  hides that of {where}" if where else ""
    if touch.kind == ChangeKind.MODIFIED and where:
        return f"{size}  {'copied up' if stack.union else 'rewritten'} from {where}"
    return size


def _verdict(stack: Stack, found: Trace) -> str:
    if found.origin is None:
        return f"{found.path}  is not there"
    what = "directory, its own entry" if found.directory else human_size(found.size)
    return f"{found.path}  comes from {stack.layers[found.origin].title} ({what})"


def _said(stack: Stack, found: Trace, number: int) -> str:
    step = found.steps[number]
    words = {
        None: "·",
        ChangeKind.ADDED: "+ has it",
        ChangeKind.MODIFIED: "~ changes it",
        ChangeKind.DELETED: "− takes it away",
    }
    if step.seen:
        return words[step.kind] + "   ← seen"
    if step.kind in (None, ChangeKind.DELETED):
        return words[step.kind]
    return words[step.kind] + ("   (merged)" if found.directory else "   (hidden)")


def _legend(stack: Stack) -> str:
    change = "changed (a copy of the whole file)" if stack.union else "changed"
    return f"+ added   ~ {change}   − taken away (a whiteout)" if stack.union else (
        f"+ added   ~ {change}   − taken away"
    )  # fmt: skip


def _files(count: int) -> str:
    return f"{count} file" + ("" if count == 1 else "s")


def _layers(count: int) -> str:
    return f"{count} layer" + ("" if count == 1 else "s")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
