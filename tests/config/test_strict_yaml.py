import pytest
from hypothesis import given
from hypothesis import strategies as st

from kseparation.config.places import Problems
from kseparation.config.strict_yaml import MAX_CHARACTERS, MAX_DEPTH, dump, parse
from kseparation.errors import UserError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(
        ["1e-3", "on", "off", "yes", "1:30", "010", "0x1F", "~", "null", "1_000", "=", "<<", "2001-01-01", ""]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def parsed(text: str) -> object:
    problems = Problems()
    value = parse(text, "run.yaml", problems).value
    problems.raise_if_any()
    return value


def message(text: str) -> str:
    with pytest.raises(UserError) as error:
        parsed(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2.5E+2", -250.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("+7", 7),
        ("010", 10),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2001-01-01", "2001-01-01"),
        ('"1e-3"', "1e-3"),
        ("e5", "e5"),
        (".", "."),
        ("<<", "<<"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    result = parsed(f"a: {text}")["a"]
    assert result == value
    assert type(result) is type(value)


@given(VALUES)
def test_what_is_dumped_is_read_back(value: object) -> None:
    result = parsed(dump({"value": value}))["value"]
    assert result == value
    assert repr(result) == repr(value)  # 1, 1.0 and True are equal


def test_text_that_other_readers_take_for_a_boolean_is_quoted() -> None:
    assert dump({"wandb": "off", "rate": "1e-3"}) == "wandb: 'off'\nrate: '1e-3'\n"


def test_every_key_knows_its_line() -> None:
    document = parse("a:\n  b: 1\n  c:\n  - 2\n  - d: 3\n", "run.yaml", Problems())
    assert document.sources["a.b"] == "run.yaml:2"
    assert document.sources["a.c.1.d"] == "run.yaml:5"


def test_a_repeated_key_is_reported_with_both_lines() -> None:
    assert message("a: 1\nb: 2\na: 3\n") == (
        "run.yaml:3: `a` is given twice; it stands already at run.yaml:1. Remove one of the two."
    )


@pytest.mark.parametrize("key", ["1", "true", "null", "[a, b]", "{a: b}"])
def test_a_key_must_be_text(key: str) -> None:
    assert "must have text as its key" in message(f"? {key}\n: 1\n")


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf", "1e999"])
def test_numbers_are_finite(number: str) -> None:
    assert message(f"\na: {number}") == f"run.yaml:2: `a` must be a finite number. Received: {number}"


def test_a_number_of_many_digits_is_refused() -> None:
    assert "must be a number of at most 40 characters. Received: 5000 characters" in message("a: " + "9" * 5000)


@pytest.mark.parametrize(
    "tagged", ["!!python/object/apply:os.system [ls]", "!!python/tuple [1]", "!env HOME", "!!str 1"]
)
def test_tags_are_refused(tagged: str) -> None:
    text = message(f"a: {tagged}")
    assert text.startswith("run.yaml:1:4: not valid YAML: the tag `")
    assert text.endswith("` is not allowed: plain values only.")


@pytest.mark.parametrize(
    ("text", "position"),
    [("a: [1, 2", "run.yaml:1:9"), ("a: 1\n b: 2", "run.yaml:2:3"), ("a: 1\n---\nb: 2", "run.yaml:2:1")],
)
def test_invalid_yaml_is_reported_with_line_and_column(text: str, position: str) -> None:
    assert message(text).startswith(f"{position}: not valid YAML: ")


def test_a_control_character_is_reported_with_its_line() -> None:
    assert message("a: 1\nb: \x07") == "run.yaml:2: the character U+0007 is not allowed in YAML."


def test_aliases_are_expanded() -> None:
    assert parsed("a: &x [1, 2]\nb: *x") == {"a": [1, 2], "b": [1, 2]}


def test_an_alias_bomb_is_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "at most 20000 values once they are expanded" in message("\n".join(lines))


def test_an_alias_of_itself_is_stopped() -> None:
    assert "aliases may not refer to themselves" in message("a: &a [*a]")


def test_depth_is_bounded() -> None:
    assert f"nested deeper than {MAX_DEPTH} levels" in message("[" * 5000)


def test_size_is_bounded() -> None:
    assert "is too large for a config" in message("# " + "x" * MAX_CHARACTERS)
