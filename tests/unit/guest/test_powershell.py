"""PowerShell's stderr and command lines."""

from __future__ import annotations

import pytest

from pipeline.guest.powershell import (
    LONGEST_ENCODED,
    encoded_command,
    file_command,
    quoted,
    windows_path,
    without_clixml,
)

PROGRESS = (
    '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="x"><Obj S="progress" RefId="0"><MS>'
    '<PR N="Record"><AV>Preparing modules for first use.</AV></PR></MS></Obj></Objs>'
)
ERROR = (
    '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="x"><S S="Error">Get-Item : no &lt;file&gt;'
    "_x000D__x000A_"
    '</S><S S="Error">At line:1_x000D__x000A_</S><S S="verbose">hm</S></Objs>'
)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("plain\r\n", "plain\r\n"),
        (PROGRESS, ""),
        (f"before {PROGRESS} after", "before  after"),
        (ERROR, "Get-Item : no <file>\nAt line:1"),
        (PROGRESS + ERROR, "Get-Item : no <file>\nAt line:1"),
        ("#< CLIXML\r\n", ""),
    ],
)
def test_only_errors_are_left_of_clixml(text: str, seen: str) -> None:
    assert without_clixml(text) == seen


def test_a_path_is_written_as_windows_does() -> None:
    assert windows_path("/C:/Program Files/x") == "C:\\Program Files\\x"


@pytest.mark.parametrize(
    ("word", "written"),
    [("plain", "plain"), ("C:\\a b\\c", '"C:\\a b\\c"'), ("", '""'), ("a&b", '"a&b"')],
)
def test_words_are_quoted_where_cmd_needs_it(word: str, written: str) -> None:
    assert quoted(word) == written


def test_a_quote_is_refused_rather_than_mangled() -> None:
    with pytest.raises(ValueError, match="double quote"):
        file_command("C:\\x.ps1", 'say "hi"')


def test_only_short_scripts_are_encoded() -> None:
    assert encoded_command("exit 0")
    assert encoded_command("#" * LONGEST_ENCODED) is None
