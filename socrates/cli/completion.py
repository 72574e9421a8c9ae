"""Shell completion: a command ``socrates`` for the shell, whose words Tab completes.

Typer's own script cannot complete ``python -m socrates``, which is three words to a shell.
"""

from __future__ import annotations

from enum import StrEnum

VARIABLE = "_SOCRATES_COMPLETE"
FUNCTION = 'socrates() { python -m socrates "$@"; }\n'
SCRIPTS = {
    "bash": FUNCTION
    + f"""_socrates() {{
    local IFS=$'\\n'
    COMPREPLY=($(COMP_WORDS="${{COMP_WORDS[*]}}" COMP_CWORD=$COMP_CWORD {VARIABLE}=complete_bash python -m socrates))
}}
complete -o default -F _socrates socrates
""",
    "zsh": FUNCTION
    + f"""_socrates() {{
    eval "$(_TYPER_COMPLETE_ARGS="${{words[1,$CURRENT]}}" {VARIABLE}=complete_zsh python -m socrates)"
}}
compdef _socrates socrates
""",
}


class Shell(StrEnum):
    """The shells that have a script."""

    bash = "bash"
    zsh = "zsh"
