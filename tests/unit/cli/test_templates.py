"""--format templates as Go runs them."""

from __future__ import annotations

import pytest

from naru.cli.template_values import Row, TemplateError
from naru.cli.templates import Template

VALUE = {
    "ID": "abcdef",
    "N": 3,
    "On": True,
    "Nothing": None,
    "Labels": {"b": "2", "a": "1"},
    "List": ["x", "y"],
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
    "State": {"Running": True, "Pid": 12},
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("{{.ID}}", "abcdef"),
        ("a{{ .N }}b", "a3b"),
        ("{{.On}} {{.State.Pid}}", "true 12"),
        ("{{.Labels}}", "map[a:1 b:2]"),
        ("{{.List}}", "[x y]"),
        ("{{.Ports}}", "map[80/tcp:[{0.0.0.0 8080}]]"),
        ("{{json .Labels}}", '{"b":"2","a":"1"}'),
        ("{{.Labels | json}}", '{"b":"2","a":"1"}'),
        ("{{upper .ID}} {{lower (upper .ID)}}", "ABCDEF abcdef"),
        ('{{join .List ", "}}', "x, y"),
        ('{{range split .ID "c"}}<{{.}}>{{end}}', "<ab><def>"),
        ("{{truncate .ID 3}}", "abc"),
        ("{{pad .ID 1 2}}|", " abcdef  |"),
        ("{{println .ID}}", "abcdef\n"),
        ("{{title .ID}}", "Abcdef"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if not .On}}a{{else if eq .N 3}}three{{else}}b{{end}}", "three"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .List}}{{.}}{{$.N}}{{end}}", "x3y3"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{with .State}}{{.Pid}}{{end}}", "12"),
        ("{{$x := .N}}{{$x}}", "3"),
        ('{{len .List}} {{index .List 1}} {{index .Labels "a"}}', "2 y 1"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ("a  {{- .N -}}  b", "a3b"),
        ("{{/* note */}}x", "x"),
        ('{{printf "%s-%03d-%q" .ID .N "z"}}', 'abcdef-003-"z"'),
        ("{{`raw}}`}}", "raw}}"),
        ("{{and .On .N}} {{or .Nothing .ID}}", "3 abcdef"),
    ],
)
def test_renders(text: str, shown: str) -> None:
    assert Template(text).run(VALUE) == shown


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{{.ID", "unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{nope .ID}}", 'function "nope" not defined'),
        ("{{if .ID}}x", "unexpected EOF"),
        ("{{.ID.Foo}}", "can't evaluate field Foo in type string"),
        ("{{index .List 9}}", "index out of range: 9"),
    ],
)
def test_refuses(text: str, part: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text).run(VALUE)
    assert part in caught.value.message


def test_a_row_knows_its_fields() -> None:
    row = Row(ID="x", Command='"a & b"')
    assert Template("{{json .}}").run(row) == '{"Command":"\\"a \\u0026 b\\"","ID":"x"}'
    with pytest.raises(TemplateError) as caught:
        Template("{{.Foo}}").run(row, root="*formatter.ContainerContext")
    assert caught.value.message == (
        'template: :1:2: executing "" at <.Foo>: '
        "can't evaluate field Foo in type *formatter.ContainerContext"
    )
