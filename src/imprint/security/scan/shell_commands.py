"""What well-known shell commands do with their words, their input and the files they name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from imprint.security.scan.behaviour import (
    CREDENTIAL_FILE,
    CREDENTIAL_PATH,
    DECODED,
    ENCODED,
    ENVIRONMENT,
    FETCHED,
    FILE,
    FOLDER,
    HOST_FACTS,
    NO_LABELS,
    NOTHING,
    SECRET,
    SECRET_SEARCH,
    WIDE_PATH,
    ShellAnalysis,
    Value,
    has,
    is_secret_name,
    join,
)
from imprint.security.scan.encodings import decoded_text, unescaped

_KEY_WORDS = re.compile(r"(?i)\b(?:credentials?|creds|passwd|cookies?|private_key|secrets|session)=\$")


@dataclass(frozen=True, slots=True)
class Call:
    """One simple command, as it is about to run."""

    shell: ShellAnalysis
    name: str
    first: Value
    words: list[Value]
    stdin: Value
    line: int

    @property
    def all(self) -> Value:
        return join(self.words, " ")

    def note(self, sink: str, labels: frozenset[str], place: str = "", text: str = "") -> None:
        self.shell.trace.note(sink, self.line, labels, place, text)

    def rest(self, start: int) -> Value:
        """The command that begins at a word, run."""
        words = self.words[start:]
        return self.shell.call(words, self.stdin, self.line) if words else NOTHING

    def flags(self, *names: str) -> bool:
        return any(word.text in names for word in self.words)


Command = Callable[[Call], Value]


def _print(call: Call) -> Value:
    found = call.all
    if call.name == "printf" or call.flags("-e"):
        found = Value(found.labels, unescaped(found.text))
    call.note("print", found.labels, "stdout", found.text)
    return found


def _environment(call: Call) -> Value:
    """`env`, `printenv`, `set`: all of it, one variable, or a command under it."""
    words = [word for word in call.words if not word.text.startswith("-") and "=" not in word.text]
    if not words:
        return Value(frozenset({ENVIRONMENT})) if call.name != "set" or not call.words else NOTHING
    if call.name == "printenv":
        return Value(frozenset(f"{SECRET}:{word.text}" for word in words if is_secret_name(word.text)))
    return call.rest(call.words.index(words[0]))


def _read(call: Call) -> Value:
    """Commands whose output is the content of the files they name."""
    labels = set(call.stdin.labels)
    for word in call.words:
        if word.text and not word.text.startswith("-"):
            labels |= call.shell.trace.read(word.text) | word.labels
    return Value(frozenset(labels), call.stdin.text if not call.words else "")


def _search(call: Call) -> Value:
    """`grep`: of what comes in, or of files; a search of the environment stays one."""
    found = _read(call) if not call.stdin.labels else call.stdin
    return Value(found.labels, "")


def _pass_on(call: Call) -> Value:
    return Value(call.stdin.labels | call.all.labels, call.stdin.text)


def _code(call: Call) -> Value:
    """`base64` and its like, in either direction."""
    back = call.flags("-d", "-D", "--decode", "-r", "-rp", "-dc", "-dec") or call.name in ("gunzip", "zcat", "uudecode")
    found = _read(call)
    return Value(found.labels | {DECODED if back else ENCODED}, decoded_text(call.stdin.text) if back else "")


_DATA = ("-d", "--data", "--data-raw", "--data-binary", "--data-urlencode", "--data-ascii", "--json", "-F", "--form",
         "-T", "--upload-file", "--post-data", "--post-file", "--body-data", "--body-file",
         "--form-string")  # fmt: skip
_HEADER = ("-H", "--header", "-u", "--user", "-b", "--cookie", "--oauth2-bearer", "-A", "--user-agent", "-e")
_OUTPUT = ("-o", "--output", "-O", "--output-document")
_OTHER = ("-X", "--request", "-m", "--max-time", "--retry", "-w", "--write-out", "-x", "--proxy", "--connect-timeout",
          "--cacert", "--cert", "--key", "-c", "--cookie-jar", "-K", "-t", "--timeout", "--tries", "--method",
          "-P")  # fmt: skip


def _transfer(call: Call) -> Value:
    """`curl` and `wget`: what goes out in body, headers and address, and what comes back."""
    body, header, urls, output = [], [], [], ""
    words, at = call.words, 0
    while at < len(words):
        flag, value = words[at].text, words[at + 1] if at + 1 < len(words) else NOTHING
        name, equals, glued = flag.partition("=")
        if equals and name.startswith("--"):
            value, step = Value(words[at].labels, glued), 1
        elif len(flag) > 2 and flag[:2] in ("-d", "-H", "-F", "-T", "-o") and not flag.startswith("--"):
            name, value, step = flag[:2], Value(words[at].labels, flag[2:]), 1
        else:
            step = 2
        if name in _DATA:
            body.append(_data(call, name, value))
        elif name in _HEADER:
            header.append(value)
        elif name in _OUTPUT and not (name == "-O" and call.name == "curl"):
            output = value.text
        elif name in _OTHER:
            pass
        else:
            step = 1
            if not flag.startswith("-") and (flag or words[at].labels):
                urls.append(words[at])
            elif re.fullmatch(r"-[a-zA-Z]*o", flag) and call.name == "curl":
                output, step = value.text, 2
            elif re.fullmatch(r"-[a-zA-Z]*d", flag) and call.name == "curl":
                body.append(_data(call, "-d", value))
                step = 2
        at += step
    address = join(urls, " ")
    stdin = call.stdin if call.name == "xargs-transfer" else NOTHING
    for place, data in (("body", join(body, " ")), ("header", join(header, " ")), ("url", join([address, stdin]))):
        if data.labels or (place == "body" and data.text):
            call.note("send", data.labels, place, address.text or call.stdin.text or "$")
    call.note("fetch", address.labels, "", address.text)
    fetched = Value(frozenset({f"{FETCHED}:{address.text}"}) | (address.labels & {DECODED}), address.text)
    if (not output and call.flags("-O", "-OJ", "-LO", "-sLO", "-fsSLO", "-OL")) or (call.name == "wget" and not output):
        output = address.text.split("?")[0].rsplit("/", 1)[-1]
    if output and output != "-":
        call.shell.trace.written(output, fetched.labels)
        return NOTHING if call.name == "curl" else fetched
    return fetched


def _data(call: Call, flag: str, value: Value) -> Value:
    """What a data flag sends: text, a file (`@name`), or stdin (`@-`)."""
    text = value.text
    path = text.rpartition("@")[2] if "@" in text and flag not in ("--data-raw", "--form-string") else ""
    if flag in ("-T", "--upload-file", "--post-file", "--body-file"):
        path = text
    labels = set(value.labels)
    if path == "-" or path == "/dev/stdin":
        labels |= call.stdin.labels
        text = call.stdin.text
    elif path and not re.search(r"[\s,;{}]", path) and (text.startswith("@") or "=@" in text or path == text):
        labels |= call.shell.trace.read(path)
    if _KEY_WORDS.search(text):
        labels.add(f"{SECRET}:credentials")
    return Value(frozenset(labels), text)


def _resolve(call: Call) -> Value:
    found = call.all
    call.note("resolve", found.labels | call.stdin.labels, "url", found.text)
    return Value(frozenset({FETCHED}))


def _copy_out(call: Call) -> Value:
    """`scp`, `rsync`, `aws s3 cp`, `nc`: files named in the words, or stdin, go to another machine."""
    labels = set(call.stdin.labels)
    target = ""
    for word in call.words:
        if re.search(r"^[\w.-]+@?[\w.-]*:(?!\\)|://|^\$", word.text) and not word.text.startswith("-"):
            target = word.text
        elif CREDENTIAL_PATH.search(word.text) and not _is_identity(call, word):
            labels |= call.shell.trace.read(word.text)
        elif word.text and not word.text.startswith("-"):
            labels |= word.labels | (call.shell.trace.files.get(word.text, NO_LABELS))
    if call.name in ("nc", "ncat", "netcat", "socat", "telnet"):
        target = call.all.text
    if labels and (target or call.name in ("mail", "mailx", "sendmail", "mutt")):
        call.note("send", frozenset(labels), "body", target or call.all.text)
    return Value(frozenset({FETCHED}) if call.name in ("nc", "ncat", "netcat", "socat") else NO_LABELS, "")


def _is_identity(call: Call, word: Value) -> bool:
    place = call.words.index(word)
    return place > 0 and call.words[place - 1].text in ("-i", "-e", "--key", "-o")


def _interpret(call: Call) -> Value:
    """`sh`, `python`, `node`: a program in an argument, in a file, or on stdin."""
    language = _LANGUAGES[re.sub(r"[\d.]+$", "", call.name)]
    words = call.words
    for at, word in enumerate(words):
        flag = word.text
        if not flag.startswith("-"):
            ran = call.shell.trace.files.get(flag.removeprefix("./"), NO_LABELS) | word.labels
            if has(ran, FETCHED, DECODED):
                call.note("run", ran, "file", call.all.text)
            return Value(ran, "")
        if re.fullmatch(r"-[a-z]*c|-e|--eval|-p|-pe|-command|-r", flag, re.I) and at + 1 < len(words):
            program = words[at + 1]
            if has(program.labels, FETCHED, DECODED):
                call.note("run", program.labels, "argument", call.all.text)
            if language == "shell":
                return call.shell.nested(program, call.line)
            if language:
                printed = _inline(call, language, program.text)
                return Value(program.labels | printed.labels, printed.text)
            return Value(program.labels, "")
        if flag in ("-m", "-i", "-l", "--version", "-V", "-h", "--help"):
            if flag == "-m":
                return call.stdin
            continue
    if has(call.stdin.labels, FETCHED, DECODED):
        call.note("run", call.stdin.labels, "stdin", f"{call.stdin.text} | {call.name}")
    if call.stdin.text and not has(call.stdin.labels, FETCHED):
        if language == "shell":
            return call.shell.nested(call.stdin, call.line)
        if language:
            return _inline(call, language, call.stdin.text)
    return Value(call.stdin.labels, "")


def _inline(call: Call, language: str, program: str) -> Value:
    """A program in another language, run; gives what it prints."""
    events = call.shell.trace.events
    before = len(events)
    call.shell.inline(language, program, call.line)
    printed = [event for event in events[before:] if event.sink == "print"]
    labels = frozenset().union(*(event.labels for event in printed))
    return Value(labels, "\n".join(event.text for event in printed))


def _evaluate(call: Call) -> Value:
    """`eval`, `source`: their words are code."""
    found = call.all
    labels = found.labels | (
        call.shell.trace.files.get(found.text.removeprefix("./"), NO_LABELS) if call.name != "eval" else NO_LABELS
    )
    if has(labels, FETCHED, DECODED):
        call.note("run", labels, "argument", f"{call.name} {found.text}")
    if call.name == "eval" and found.text:
        return call.shell.nested(found, call.line)
    return NOTHING


_PREFIX_VALUES = {
    "sudo": ("-u", "-g", "-h", "-p"),
    "timeout": ("-k", "-s"),
    "nice": ("-n",),
    "doas": ("-u",),
    "ionice": ("-c", "-n"),
    "stdbuf": ("-o", "-e", "-i"),
}


def _prefix(call: Call) -> Value:
    """`sudo`, `nohup`, `time`: the command after it."""
    at, takes = 0, _PREFIX_VALUES.get(call.name, ())
    while at < len(call.words):
        text = call.words[at].text
        if text in takes:
            at += 2
        elif (
            text.startswith("-")
            or ("=" in text and not text.startswith("/"))
            or (call.name == "timeout" and re.fullmatch(r"[\d.]+[smhd]?", text))
        ):
            at += 1
        else:
            break
    return call.rest(at)


def _xargs(call: Call) -> Value:
    """`xargs CMD`: the command with what comes in as its last words."""
    at = 0
    while at < len(call.words) and call.words[at].text.startswith("-"):
        at += 2 if call.words[at].text in ("-I", "-n", "-P", "-L", "-d", "-s", "-a") else 1
    words = [*call.words[at:], call.stdin]
    return call.shell.call(words, NOTHING, call.line) if len(words) > 1 else call.stdin


def _find(call: Call) -> Value:
    """`find`: what it looks for is what it will find."""
    words = call.words
    for at, word in enumerate(words):
        if word.text in ("-exec", "-execdir") and at + 1 < len(words):
            call.shell.call([w for w in words[at + 1 :] if w.text not in ("{}", "+", ";")], call.stdin, call.line)
    sought = [word.text for at, word in enumerate(words) if at and words[at - 1].text in ("-name", "-iname", "-path")]
    wide = bool(words) and bool(WIDE_PATH.search(words[0].text))
    secret = [text for text in sought if SECRET_SEARCH.search(text)]
    labels = {FILE} | ({f"{CREDENTIAL_FILE}:{secret[0]}"} if secret and wide else set())
    return Value(frozenset(labels), "")


def _tee(call: Call) -> Value:
    for word in call.words:
        if not word.text.startswith("-"):
            call.shell.trace.written(word.text, call.stdin.labels)
            call.note("write", call.stdin.labels, "file", f"> {word.text} {call.stdin.text}")
    return call.stdin


def _pack(call: Call) -> Value:
    """`tar`, `zip`, `cp`: what they read ends in a file they write, or on stdout."""
    labels = set(call.stdin.labels | call.all.labels)
    names = [word.text for word in call.words if word.text and not word.text.startswith("-")]
    for name in names:
        labels |= {label for label in call.shell.trace.read(name) if not label.startswith(FILE)}
        if WIDE_PATH.search(name) and call.name in ("tar", "zip", "7z"):
            labels.add(FOLDER)
    targets = names[-1:] if call.name in ("cp", "mv", "ln", "install", "ditto") else names[:2]
    for name in targets:
        call.shell.trace.written(name, frozenset(labels))
    if call.name in ("cp", "mv", "ln", "install"):
        call.note("write", frozenset(labels), "file", f"> {names[-1]}" if names else "")
    return Value(frozenset(labels | {FILE}), "")


def _crontab(call: Call) -> Value:
    if call.stdin.text and call.flags("-"):
        call.note("write", call.stdin.labels, "file", f"> crontab {call.stdin.text}")
    return NOTHING


def _reverse(call: Call) -> Value:
    return Value(call.stdin.labels, call.stdin.text.strip()[::-1])


def _facts(call: Call) -> Value:
    return Value(frozenset({HOST_FACTS}), "")


def _keychain(call: Call) -> Value:
    text = call.all.text
    if re.search(r"find-(?:generic|internet)-password|dump-keychain|lookup|ls|export", text):
        return Value(frozenset({f"credential-file:{call.name}"}), "")
    return NOTHING


def _cloud(call: Call) -> Value:
    """`aws s3 cp` and its like send; everything else of them reads a service's own data."""
    if re.search(r"^(?:s3|storage)?\s*(?:cp|sync|mv|copy|put|rsync|upload)\b", call.all.text):
        return _copy_out(call)
    return NOTHING


def _quiet(call: Call) -> Value:
    return NOTHING


_LANGUAGES = {"sh": "shell", "bash": "shell", "zsh": "shell", "dash": "shell", "ksh": "shell", "ash": "shell",
              "python": "python", "pypy": "python", "node": "javascript", "nodejs": "javascript", "deno": "javascript",
              "bun": "javascript", "perl": "", "ruby": "", "php": "", "lua": "", "pwsh": "", "powershell": "",
              "osascript": ""}  # fmt: skip


def _table() -> dict[str, Command]:
    groups: list[tuple[Command, str]] = [
        (_print, "echo printf"),
        (_environment, "env printenv set"),
        (_read, "cat head tail less more tac strings nl sed awk cut sort jq yq tr sqlite3 type Get-Content"),
        (_search, "grep egrep rg ag ack fgrep"),
        (_code, "base64 base32 xxd openssl gzip gunzip zcat uuencode uudecode gpg od hexdump"),
        (_transfer, "curl wget"),
        (_resolve, "dig nslookup host drill ping"),
        (_copy_out, "scp rsync sftp rclone nc ncat netcat socat telnet mail mailx sendmail mutt ftp"),
        (_cloud, "aws gsutil gcloud az s3cmd mc"),
        (_interpret, " ".join([*_LANGUAGES, "python2", "python3", "python3.11", "python3.12"])),
        (_evaluate, "eval source ."),
        (_prefix, "sudo doas nohup time exec command builtin timeout nice ionice stdbuf setsid then do else"),
        (_xargs, "xargs parallel"),
        (_find, "find fd"),
        (_tee, "tee"),
        (_reverse, "rev"),
        (_crontab, "crontab"),
        (_pack, "tar zip cp mv ln install 7z ditto"),
        (_facts, "whoami hostname id uname ifconfig ip ps last w"),
        (_keychain, "security secret-tool pass"),
        (_quiet, "cd mkdir touch chmod chown rm rmdir test [ [[ true false exit return sleep read shift trap "
                 "kill ls pwd "
                 "git npm npx pip pip3 uv cargo make docker brew apt apt-get yarn pnpm go which"),
    ]  # fmt: skip
    return {name: command for command, names in groups for name in names.split()}


COMMANDS = _table()
