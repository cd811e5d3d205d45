"""What `imprint skills validate` looks for: every rule with its id, which never changes its meaning."""

from __future__ import annotations

from imprint.support.sarif import Level, Rule

_FRONT = "The front matter is the text between the first two `---`: keys with values, one a line, in plain YAML. "
_STYLE = "Every value is text, a list or a map in block style; quote what holds `: `, `#`, brackets or quotes."
_NAME = "1 to 64 characters: lowercase letters and digits, with single hyphens between; the folder has the same name."


def _rule(level: Level, id: str, short: str, help: str) -> tuple[str, Rule]:
    return id, Rule(id, id.title().replace("-", ""), short, help, level)


RULES: dict[str, Rule] = dict(
    [
        # What the reference library refuses too.
        _rule("error", "page-missing", "The folder has no SKILL.md.", "A skill is a folder with a `SKILL.md` in it."),
        _rule(
            "error", "page-unreadable", "SKILL.md cannot be read.", "It has to be a file of UTF-8 text in its folder."
        ),
        _rule("error", "front-missing", "There is no front matter.", _FRONT + "The file begins with the first `---`."),
        _rule("error", "front-yaml", "The front matter cannot be parsed.", _FRONT + _STYLE),
        _rule("error", "front-limit", "The front matter is too large or too deep to parse.", _FRONT + "Keep it short."),
        _rule("error", "key-unknown", "A key is not in the specification.", "Put what is your own under `metadata`."),
        _rule("error", "name-missing", "There is no name.", "The name: " + _NAME),
        _rule("error", "name-format", "The name breaks a rule.", "The name: " + _NAME),
        _rule("error", "name-folder", "The name differs from the folder's.", "The name: " + _NAME),
        _rule("error", "description-missing", "There is no description.", "Say what it does and when to use it."),
        _rule("error", "description-long", "The description is too long.", "It has at most 1024 characters."),
        _rule("error", "compatibility-format", "The compatibility breaks a rule.", "A text of at most 500 characters."),
        # What the reference library does not look at.
        _rule("warning", "body-empty", "The page is empty.", "Below the front matter stands what to do."),
        _rule(
            "warning", "body-long", "The page is long.", "Under 500 lines and 5000 tokens; more goes to `references/`."
        ),
        _rule(
            "warning",
            "value-format",
            "A value is not of its kind.",
            "`metadata` maps texts to texts; others are texts.",
        ),
        _rule(
            "warning", "front-dashes", "A `---` inside a value ends the front matter.", "Write it otherwise: `--`, `-`."
        ),
        _rule("warning", "reference-missing", "A file that the page names is not there.", "Add it or fix the path."),
        _rule("warning", "reference-outside", "A path leads out of the skill.", "Paths start at the skill's folder."),
        _rule("warning", "reference-deep", "A path is over one folder deep.", "Such as `references/topic.md`."),
        _rule("warning", "link-outside", "A link leads out of the skill.", "Put the file itself into the folder."),
        _rule("warning", "link", "There is a symbolic link.", "Archives and some systems lose links: copy the file."),
        _rule("warning", "folder-large", "The folder holds too much to look through.", "A skill is a few files."),
        _rule(
            "warning",
            "encoding",
            "Other programs may read the file otherwise.",
            "UTF-8, line ends LF, no byte order mark.",
        ),
        _rule("warning", "control-character", "There are control characters.", "Terminals obey them: remove them."),
        _rule(
            "warning",
            "invisible-character",
            "There are invisible characters.",
            "They hide or reorder text: remove them.",
        ),
        _rule("warning", "name-twice", "Two skills have the same name.", "Clients keep one of them: rename the other."),
        _rule(
            "warning", "imprint-refuses", "Imprint does not train on it.", "Its reader is stricter: see the message."
        ),
        _rule(
            "error",
            "env-tasks",
            "The skills do not fit the world's tasks.",
            "`metadata.tasks` names task families, with commas between, or `*` for all.",
        ),
        _rule(
            "warning",
            "tasks-unnamed",
            "Skills serve every task.",
            "They name no tasks: `metadata.tasks`, or a recipe's `skills.tasks`, says which they serve.",
        ),
    ]
)

# What clients put up with: in the lenient mode a warning.
LENIENT = frozenset(
    {
        "front-yaml",
        "key-unknown",
        "name-missing",
        "name-format",
        "name-folder",
        "description-long",
        "compatibility-format",
    }
)
