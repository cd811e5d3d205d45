"""What well-known functions of Python do with their arguments."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from imprint.security.scan.behaviour import (
    CREDENTIAL_FILE,
    DECODED,
    ENCODED,
    FETCHED,
    FILE,
    FOLDER,
    HOST_FACTS,
    NO_LABELS,
    NOTHING,
    SECRET,
    SECRET_SEARCH,
    VARIABLE,
    WIDE_PATH,
    PythonAnalysis,
    Value,
    has,
    is_secret_name,
    join,
    only,
    plain_labels,
)
from imprint.security.scan.encodings import decoded_text

_HTTP_SENDERS = (
    "post",
    "put",
    "patch",
    "request",
    "urlopen",
    "get",
    "delete",
    "head",
    "stream",
    "Request",
    "urlretrieve",
)


@dataclass(frozen=True, slots=True)
class PythonCall:
    """One call: what is called, and what is known of its arguments and of the object it is a method of."""

    module: PythonAnalysis
    node: ast.Call
    dotted: str
    args: list[Value]
    named: dict[str, Value]
    base: Value
    line: int

    @property
    def first(self) -> Value:
        return self.args[0] if self.args else NOTHING

    @property
    def labels(self) -> frozenset[str]:
        return join([*self.args, *self.named.values()]).labels

    def note(self, sink: str, labels: frozenset[str], place: str = "", text: str = "") -> None:
        self.module.trace.note(sink, self.line, labels, place, text)


Known = Callable[[PythonCall], Value]


def variable(name: str) -> Value:
    """A variable of the environment."""
    return Value(frozenset({f"{SECRET}:{name}" if is_secret_name(name) else VARIABLE}), "")


def _getenv(call: PythonCall) -> Value:
    return variable(call.first.text)


def _open(call: PythonCall) -> Value:
    path = call.first
    return Value(call.module.trace.read(path.text) | path.labels, path.text)


def _path(call: PythonCall) -> Value:
    return join(call.args, "/")


def _home(call: PythonCall) -> Value:
    return Value(text="~")


def _same(call: PythonCall) -> Value:
    return call.first


def _method_read(call: PythonCall) -> Value:
    """`.read()` of an open file, `.read_text()` of a path."""
    labels = call.base.labels
    if call.dotted.rpartition(".")[2] in ("read_text", "read_bytes"):
        labels |= call.module.trace.read(call.base.text)
    return Value(labels, "")


def _walk(call: PythonCall) -> Value:
    """`.rglob()`, `os.walk()`: file by file, a whole folder."""
    base = call.first if call.dotted.startswith(("os.", "glob.")) else call.base
    sought = call.first.text
    if SECRET_SEARCH.search(sought) and base.text.startswith(("~", "/")):
        return Value(frozenset({f"{CREDENTIAL_FILE}:{sought}"}), base.text)
    return Value(
        frozenset({FOLDER if WIDE_PATH.search(base.text.removesuffix("/**").removesuffix("/*")) else FILE}), base.text
    )


def _method_write(call: PythonCall) -> Value:
    call.module.trace.written(call.base.text, call.labels)
    call.note("write", call.labels, "file", f"> {call.base.text} {call.first.text}")
    return NOTHING


def _method_format(call: PythonCall) -> Value:
    return Value(call.base.labels | call.labels, " ".join([call.base.text, *(arg.text for arg in call.args)]).strip())


def _method_join(call: PythonCall) -> Value:
    return Value(call.base.labels | call.labels, call.first.text)


def _method_text(call: PythonCall) -> Value:
    """Methods that give the same text in another form."""
    return Value(call.base.labels | call.labels, call.base.text)


def _method_append(call: PythonCall) -> Value:
    """`.append(x)`, `.update(x)`: the object holds it from now on."""
    if isinstance(call.node.func, ast.Attribute) and isinstance(call.node.func.value, ast.Name):
        name = call.node.func.value.id
        known = call.module.globals.get(name, NOTHING)
        if call.labels:
            call.module.globals[name] = Value(known.labels | call.labels, known.text)
    return NOTHING


def _http(call: PythonCall) -> Value:
    """`requests.post` and its like."""
    name = call.dotted.rpartition(".")[2]
    arguments = list(call.args)
    if name in ("request", "stream") and len(arguments) > 1:
        arguments = arguments[1:]
    url = call.named.get("url", arguments[0] if arguments else NOTHING)
    others = arguments[1:]
    body = join(
        [*(call.named[key] for key in ("data", "json", "files", "content", "body") if key in call.named), *others]
    )
    header = join([call.named[key] for key in ("headers", "auth", "cookies") if key in call.named])
    query = join([url, call.named.get("params", NOTHING)])
    address = url.text or "$"
    sends = name not in ("get", "head") and any(
        key in call.named for key in ("data", "json", "files", "content", "body")
    )
    for place, data in (("body", body), ("header", header), ("url", query)):
        if data.labels or (place == "body" and sends):
            call.note("send", data.labels, place, address)
    call.note("fetch", url.labels, "", address)
    return Value(frozenset({f"{FETCHED}:{address}"}) | (query.labels & {DECODED}), "")


def _method_send(call: PythonCall) -> Value:
    """`.post`, `.sendall`, `.send_message` of an object that is not known: only labelled data is worth a word."""
    name = call.dotted.rpartition(".")[2]
    labels = call.labels
    if name in ("post", "put", "patch", "request", "urlopen"):
        return _http(call) if call.first.text.startswith(("http", "$")) or labels else Value(call.base.labels)
    if labels:
        call.note("send", labels, "body", call.base.text if "://" in call.base.text else "$")
    return Value(call.base.labels | (frozenset({FETCHED}) if name == "recv" else NO_LABELS))


def _method_receive(call: PythonCall) -> Value:
    return Value(call.base.labels | {FETCHED}, "")


def _resolve(call: PythonCall) -> Value:
    call.note("resolve", call.labels, "url", join(call.args, " ").text)
    return NOTHING


def _connect(call: PythonCall) -> Value:
    call.note("command", call.labels, "", f"python-connect {call.first.text}")
    return Value(call.base.labels, call.first.text)


def _decode(call: PythonCall) -> Value:
    found = call.first
    text = decoded_text(found.text) if "b64" in call.dotted or "hex" in call.dotted else ""
    kept = found.labels if plain_labels(found.labels) != {DECODED} else NO_LABELS
    return Value(kept | {DECODED}, text)


def _encode(call: PythonCall) -> Value:
    return Value(call.first.labels | {ENCODED}, "")


def _hash(call: PythonCall) -> Value:
    """A digest does not give back what went in."""
    return NOTHING


def _run(call: PythonCall) -> Value:
    """`exec`, `eval`, `pickle.loads`: data becomes code."""
    found = call.first
    if found.labels or found.text:
        call.note("run", found.labels, "argument", f"{call.dotted}({found.text})")
    if found.text and "$" not in found.text[:1] and call.dotted in ("exec", "eval"):
        call.module.inline("python", found.text, call.line, found.labels)
    return Value(found.labels, "")


def _compile(call: PythonCall) -> Value:
    return call.first


def _import(call: PythonCall) -> Value:
    if call.first.labels:
        call.note("run", call.first.labels, "argument", f"import {call.first.text}")
    return NOTHING


def _command(call: PythonCall) -> Value:
    """`os.system`, `subprocess.run`: shell code, or the words of one command."""
    node = call.node.args[0] if call.node.args else None
    found = call.first if call.args else call.named.get("args", NOTHING)
    if isinstance(node, ast.List | ast.Tuple):
        scope = call.module.globals
        words = [call.module.value(element, scope).text or "$" for element in node.elts]
        text = " ".join(word if word.startswith("$") else shlex.quote(word) for word in words)
    else:
        text = found.text
    labels = found.labels | (call.named["input"].labels if "input" in call.named else NO_LABELS)
    if text:
        call.module.inline("shell", text, call.line, labels)
    if has(labels, FETCHED, DECODED):
        call.note("run", labels, "argument", text)
    return Value(only(labels, FETCHED, DECODED) or _output_labels(text), "")


def _output_labels(text: str) -> frozenset[str]:
    return frozenset({FETCHED}) if re.search(r"\b(?:curl|wget)\b", text) else NO_LABELS


def _print(call: PythonCall) -> Value:
    call.note("print", call.labels, "stdout", join(call.args, " ").text)
    return NOTHING


def _serialise(call: PythonCall) -> Value:
    call.note("serialise", call.labels, "", call.dotted)
    return Value(call.first.labels, "")


def _as_command(words: str) -> Known:
    """A function that does what a shell command does; the rules for commands then know it too."""

    def note(call: PythonCall) -> Value:
        texts = [arg.text for arg in call.args]
        if call.dotted.endswith("chmod") and len(texts) > 1 and texts[1].isdigit():
            texts = [oct(int(texts[1]))[2:], texts[0]]
        path = call.base.text if not texts or call.dotted.rpartition(".")[0] not in ("os", "shutil") else ""
        call.note("command", call.labels, "", " ".join(part for part in (words, *texts, path) if part))
        return NOTHING

    return note


def _copy(call: PythonCall) -> Value:
    labels = call.module.trace.read(call.first.text)
    if len(call.args) > 1:
        call.module.trace.written(call.args[1].text, labels)
    call.note("command", labels, "", f"cp {join(call.args, ' ').text}")
    return NOTHING


def _facts(call: PythonCall) -> Value:
    return Value(frozenset({HOST_FACTS}), "")


def _table() -> dict[str, Known]:
    clients = ("requests", "httpx", "urllib.request", "urllib3", "requests.Session()", "httpx.Client()", "aiohttp")
    table: dict[str, Known] = {f"{client}.{name}": _http for client in clients for name in _HTTP_SENDERS}
    groups: list[tuple[Known, str]] = [
        (_getenv, "os.getenv os.environ.get os.environ.pop environ.get os.environ.__getitem__"),
        (_open, "open io.open codecs.open pathlib.Path().open os.open aiofiles.open"),
        (_path, "pathlib.Path Path os.path.join pathlib.PurePath"),
        (_home, "pathlib.Path.home Path.home"),
        (_same, "os.path.expanduser os.path.expandvars os.path.abspath str bytes bytearray list dict tuple set "
                "sorted reversed os.fspath "
                "shlex.quote urllib.parse.quote urllib.parse.urlencode json.loads yaml.safe_load "
                "textwrap.dedent repr map iter next"),
        (_decode, "base64.b64decode base64.urlsafe_b64decode base64.b32decode base64.b85decode "
                  "base64.a85decode base64.decodebytes "
                  "binascii.unhexlify binascii.a2b_base64 bytes.fromhex bytearray.fromhex codecs.decode "
                  "zlib.decompress "
                  "gzip.decompress lzma.decompress bz2.decompress marshal.loads"),
        (_encode, "base64.b64encode base64.urlsafe_b64encode base64.b32encode base64.b85encode base64.encodebytes "
                  "binascii.hexlify codecs.encode zlib.compress gzip.compress binascii.b2a_base64"),
        (_hash, "hashlib.sha256 hashlib.md5 hashlib.sha1 hmac.new len bool isinstance hash type any all int "
                "float id min max sum"),
        (_run, "exec eval pickle.loads pickle.load marshal.load dill.loads cloudpickle.loads "
               "types.FunctionType builtins.exec builtins.eval"),
        (_compile, "compile builtins.compile"),
        (_import, "__import__ importlib.import_module"),
        (_command, "os.system os.popen subprocess.run subprocess.call subprocess.check_output "
                   "subprocess.check_call subprocess.Popen "
                   "subprocess.getoutput subprocess.getstatusoutput commands.getoutput asyncio.create_subprocess_shell "
                   "pty.spawn os.execv os.execl os.execvp"),
        (_print, "print sys.stdout.write logging.info logging.debug logging.error logger.info"),
        (_serialise, "json.dumps json.dump yaml.dump pickle.dumps"),
        (_resolve, "socket.gethostbyname socket.getaddrinfo socket.gethostbyname_ex dns.resolver.resolve "
                   "dns.resolver.query"),
        (_walk, "os.walk os.listdir os.scandir glob.glob glob.iglob"),
        (_copy, "shutil.copy shutil.copyfile shutil.copy2 shutil.copytree shutil.move os.rename"),
        (_as_command("rm -rf"), "shutil.rmtree"),
        (_as_command("rm"), "os.remove os.unlink"),
        (_as_command("chmod"), "os.chmod"),
        (_as_command("chown"), "os.chown shutil.chown"),
        (_as_command("setuid"), "os.setuid os.setgid"),
        (_as_command("dup2"), "os.dup2"),
        (_facts, "socket.gethostname platform.node getpass.getuser platform.uname os.uname platform.platform"),
    ]  # fmt: skip
    table |= {name: known for known, names in groups for name in names.split()}
    return table


def _methods() -> dict[str, Known]:
    groups: list[tuple[Known, str]] = [
        (_walk, "rglob glob iterdir"),
        (_method_read, "read read_text read_bytes readlines readline"),
        (_method_write, "write write_text write_bytes writelines"),
        (_method_format, "format"),
        (_method_join, "join"),
        (_method_text, "encode decode strip lower upper replace expanduser resolve rstrip lstrip absolute "
                       "as_posix copy joinpath "
                       "removeprefix removesuffix split splitlines items values keys get hex"),
        (_method_append, "append update extend add setdefault insert"),
        (_method_send, "post put patch request urlopen send sendall sendto sendmail send_message upload_file "
                       "put_object publish "
                       "upload_from_filename upload_blob storbinary"),
        (_method_receive, "recv recvfrom"),
        (_connect, "connect"),
    ]  # fmt: skip
    return {name: known for known, names in groups for name in names.split()}


CALLS = _table()
METHODS = _methods()
