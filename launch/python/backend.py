"""Builds the wheel: the files of tine/, and tine/_abi.py, which is read from tine.h.

The package is pure Python over libtine's C interface, so a wheel is an archive of files (PEP 427),
and this is a whole PEP 517 backend. Layouts and constants come from the header: they cannot differ
from it.   usage without pip: python3 backend.py DIRECTORY"""
import base64, hashlib, os, re, sys, zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(HERE, "..", "..", "runtime", "tine.h")
TYPES = {
    "const char *": "c_char_p",
    "int ": "c_int",
    "uint32_t ": "c_uint32",
    "bool ": "c_bool",
    "size_t ": "c_size_t",
    "double ": "c_double",
    "const char *const *": "POINTER(c_char_p)",
}
METADATA = """Metadata-Version: 2.1
Name: tine
Version: {version}
Summary: fork and wait across processes
License: Apache-2.0
Requires-Python: >=3.10
Requires-Dist: numpy
"""
WHEEL = "Wheel-Version: 1.0\nGenerator: tine\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def header():
    with open(HEADER, encoding="utf-8") as f:
        return re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)


def version(text):
    return ".".join(re.search(rf"#define TINE_VERSION_{part}\s+(\d+)", text)[1] for part in ("MAJOR", "MINOR", "PATCH"))


def constants(text):
    """Every enumerator whose value is a number or follows from the one before."""
    found = {}
    for body in re.findall(r"\benum\b[^{;()]*\{(.*?)\}", text, flags=re.S):
        value = -1
        for name, given in re.findall(r"(\w+)\s*(?:=\s*(\d+))?\s*(?:,|$)", body.strip()):
            value = int(given) if given else value + 1
            found[name] = value
    return found


def fields_of(struct, text):
    fields = []
    for line in re.search(rf"typedef struct {struct} \{{(.*?)\}} {struct};", text, flags=re.S)[1].split(";")[:-1]:
        ctype, name = re.fullmatch(r"\s*(.*?)(\w+)\s*", line, flags=re.S).groups()
        if ctype not in TYPES:
            raise SystemExit(f"backend.py: {struct}.{name} has a type that it does not know: {ctype}")
        fields.append((name, TYPES[ctype]))
    return fields


def abi():
    text = header()
    lines = ['"""Read from tine.h when the wheel was built."""', "from ctypes import *", "", f'VERSION = "{version(text)}"']
    lines += [f"{name} = {value}" for name, value in constants(text).items()]
    for name, struct in (("Options", "tine_options"), ("ForkOptions", "tine_fork_options")):
        lines += ["", "", f"class {name}(Structure):", "    _fields_ = ["]
        lines += [f'        ("{field}", {ctype}),' for field, ctype in fields_of(struct, text)] + ["    ]"]
    return "\n".join(lines + [""])


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    release = version(header())
    info = f"tine-{release}.dist-info"
    files = {"tine/_abi.py": abi().encode()}
    for name in sorted(os.listdir(os.path.join(HERE, "tine"))):
        if name.endswith((".py", ".typed")):
            with open(os.path.join(HERE, "tine", name), "rb") as f:
                files[f"tine/{name}"] = f.read()
    files[f"{info}/METADATA"] = METADATA.format(version=release).encode()
    files[f"{info}/WHEEL"] = WHEEL.encode()
    record = ""
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(data)}\n"
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    wheel = f"tine-{release}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w", zipfile.ZIP_DEFLATED) as z:
        for path, data in files.items():
            z.writestr(zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0)), data)
    return wheel


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    print(os.path.join(sys.argv[1], build_wheel(sys.argv[1])))
