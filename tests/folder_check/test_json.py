import pytest

from ash.folder_check.json_tree import JsonFault, parse

FAULTS = [
    ('{"a": 1,}', "trailing comma", 7),
    ("[1, 2,\n]", "trailing comma", 5),
    ('{"a": 1 "b": 2}', '"," is expected', 8),
    ('{"a" 1}', '":" is expected', 5),
    ("{a: 1}", "a name in double quotes is expected", 1),
    ("{'a': 1}", "a name in double quotes is expected", 1),
    ('{"a": }', "a value is expected", 6),
    ('{"a": NaN}', "a value is expected", 6),
    ('{"a": 01}', '"," is expected', 7),
    ('// why\n{"a": 1}', "JSON has no comments", 0),
    ('{"a": 1, /* why */ "b": 2}', "JSON has no comments", 9),
    ('{"a": 1', "the file ends too early", 7),
    ('{"a": "x', "unterminated string", 6),
    ('{"a": "x\ty"}', "invalid control character", 8),
    ('{"a": 1} x', "something stands after the end", 9),
    ("[" * 300, "nested more than 200 deep", 201),
]


@pytest.mark.parametrize(("text", "said", "at"), FAULTS)
def test_fault_is_named_with_its_place(text, said, at):
    """What JavaScript refuses is refused, and the fault says what and where."""
    with pytest.raises(JsonFault) as caught:
        parse(text)
    assert (said, at) == (caught.value.text, caught.value.at)


def test_values_know_where_they_stand():
    """Every value and every name has its place in the text."""
    node = parse(' {"a": [true, "x"], "b": {"c": -1.5e3, "c": null}}')
    a, b = node.members["a"], node.members["b"]
    assert [(8, True), (14, "x")] == [(item.at, item.value) for item in a.items]
    assert (20, [(39, "c")]) == (node.keys["b"], b.repeated)
    assert "null" == b.members["c"].kind
