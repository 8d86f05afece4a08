#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what loopscope consists of and stands on, with versions and licences: a bill of materials, SPDX 2.3 in JSON.

  sbom.py --source DIR --version VERSION --out FILE

Versions are those of the machine that builds: Debian's package, else pkg-config, else the header that the compiler sees. A
version that cannot be had is left out, never guessed. Licences are read from the packages' own copyright files and from npm's
lock file; the table below says what we conclude, and the two are held against each other by tests/security/sbom_test.py. Nothing
is asked of the network. The same inputs and SOURCE_DATE_EPOCH give the same bytes."""
import argparse
import base64
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
import urllib.parse
import uuid


@dataclasses.dataclass(frozen=True)
class Component:
    name: str
    licence: str  # an SPDX expression
    debian: str  # the package it is built with
    home: str
    relation: str  # how loopscope uses it
    pkg_config: str = ""
    header: tuple = ()  # a header and a regular expression for each part of the version in it
    libraries: tuple = ()  # the beginnings of the sonames that it brings
    files: str = "*"  # the paragraph of Debian's copyright file that is about what we use


DYNAMIC, STATIC = "DYNAMIC_LINK", "STATIC_LINK"
COMPONENTS = (
    Component("libev", "BSD-2-Clause OR GPL-2.0-or-later", "libev-dev", "http://software.schmorp.de/pkg/libev.html", DYNAMIC,
              header=("ev.h", r"#define EV_VERSION_MAJOR (\d+)", r"#define EV_VERSION_MINOR (\d+)"), libraries=("libev.so",)),
    Component("prometheus-cpp", "MIT", "prometheus-cpp-dev", "https://github.com/jupp0r/prometheus-cpp", DYNAMIC,
              pkg_config="prometheus-cpp-core", libraries=("libprometheus-cpp-core.so", "libprometheus-cpp-push.so")),
    Component("nlohmann-json", "MIT", "nlohmann-json3-dev", "https://github.com/nlohmann/json", STATIC, pkg_config="nlohmann_json"),
    Component("CLI11", "BSD-3-Clause", "libcli11-dev", "https://github.com/CLIUtils/CLI11", STATIC,
              header=("CLI/Version.hpp", r"#define CLI11_VERSION_MAJOR (\d+)", r"#define CLI11_VERSION_MINOR (\d+)",
                      r"#define CLI11_VERSION_PATCH (\d+)")),
    Component("elfutils", "LGPL-3.0-or-later OR GPL-2.0-or-later", "libdw-dev", "https://sourceware.org/elfutils/", DYNAMIC,
              pkg_config="libdw", libraries=("libdw.so", "libelf.so"), files="lib*"),
    Component("ncurses", "X11-distribute-modifications-variant", "libncurses-dev", "https://invisible-island.net/ncurses/", DYNAMIC,
              pkg_config="ncursesw", libraries=("libncursesw.so", "libtinfo.so")),
    Component("curl", "curl", "libcurl4-openssl-dev", "https://curl.se/", DYNAMIC, pkg_config="libcurl", libraries=("libcurl.so",)),
    # For TLS: loaded when it is wanted, and not there to build loopscope with.
    Component("openssl", "Apache-2.0", "libssl3", "https://www.openssl.org/", DYNAMIC, pkg_config="libssl",
              libraries=("libssl.so", "libcrypto.so")),
    # prometheus-cpp's configuration asks for it; what is linked of it is curl's and elfutils' doing.
    Component("zlib", "Zlib", "zlib1g-dev", "https://zlib.net/", DYNAMIC, pkg_config="zlib", libraries=("libz.so",)),
    Component("glibc", "LGPL-2.1-or-later", "libc6-dev", "https://www.gnu.org/software/libc/", DYNAMIC,
              libraries=("libc.so", "libm.so", "libpthread.so", "libdl.so", "ld-linux")),
    Component("gcc-runtime", "GPL-3.0-or-later WITH GCC-exception-3.1", "libstdc++6", "https://gcc.gnu.org/", DYNAMIC,
              libraries=("libstdc++.so", "libgcc_s.so")),
)

# What Debian's copyright files call them, where SPDX says it otherwise.
SPDX_NAMES = {
    "Expat": "MIT", "BSD-2-clause": "BSD-2-Clause", "BSD-3-clause": "BSD-3-Clause", "GPL-2+": "GPL-2.0-or-later",
    "GPL-3+": "GPL-3.0-or-later", "LGPL-3+": "LGPL-3.0-or-later", "MIT/X11": "X11-distribute-modifications-variant",
    "curl": "curl", "Zlib": "Zlib", "Apache-2.0": "Apache-2.0",
}
UNKNOWN = "NOASSERTION"


def output_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def version_of(component):
    """The version and whether it is Debian's; empty if nobody knows."""
    debian = output_of("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", component.debian)
    if debian.startswith("installed "):
        return debian.split(" ")[1], True
    if component.pkg_config:
        found = output_of("pkg-config", "--modversion", component.pkg_config)
        if found:
            return found, False
    if component.header:
        name, *patterns = component.header
        for directory in ("/usr/local/include", "/usr/include"):
            try:
                with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                continue
            parts = [re.search(pattern, text) for pattern in patterns]
            if all(parts):
                return ".".join(part.group(1) for part in parts), False
    return "", False


def declared_licence(component, copyright_file=None):
    """What Debian's copyright file says of the files we use, as an SPDX expression; NOASSERTION if that is not to be had."""
    path = copyright_file or f"/usr/share/doc/{component.debian}/copyright"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return UNKNOWN
    for paragraph in re.split(r"\n[ \t]*\n(?=\S)", text):
        fields = dict(re.findall(r"^(\S+):((?:.*)(?:\n[ \t].*)*)", paragraph, re.M))
        if component.files in fields.get("Files", "").split() and "License" in fields:
            names = fields["License"].strip().split("\n")[0].split(" or ")
            known = [SPDX_NAMES.get(name.strip()) for name in names]
            return " OR ".join(known) if all(known) else UNKNOWN
    return UNKNOWN


def spdx_id(name):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def package(name, version, concluded, declared, home, purpose, purl=""):
    made = {"SPDXID": spdx_id(name), "name": name, "downloadLocation": home or UNKNOWN, "filesAnalyzed": False,
            "licenseConcluded": concluded, "licenseDeclared": declared, "copyrightText": UNKNOWN, "supplier": UNKNOWN,
            "primaryPackagePurpose": purpose}
    if version:
        made["versionInfo"] = version
    if purl:
        made["externalRefs"] = [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]
    return made


def related(element, relation, other):
    return {"spdxElementId": spdx_id(element), "relationshipType": relation, "relatedSpdxElement": spdx_id(other)}


def native_packages():
    for component in COMPONENTS:
        version, is_debian = version_of(component)
        purl = ""
        if is_debian:
            purl = f"pkg:deb/debian/{urllib.parse.quote(component.debian)}@{urllib.parse.quote(version, safe='')}"
        yield (package(component.name, version, component.licence, declared_licence(component), component.home, "LIBRARY", purl),
               related("loopscope", component.relation, component.name))


def npm_packages(source):
    """What the page holds (dependencies), and what it is built with (of the development dependencies those that we name)."""
    with open(os.path.join(source, "webui/page/package-lock.json"), encoding="utf-8") as file:
        locked = json.load(file)["packages"]
    named = locked[""]
    inside = [path for path, facts in locked.items() if path and not facts.get("dev")]
    tools = ["node_modules/" + name for name in named.get("devDependencies", {})]
    for path in sorted(inside) + sorted(tools):
        facts = locked[path]
        name = path.rpartition("node_modules/")[2]
        is_tool = path in tools
        licence = facts.get("license", UNKNOWN)
        made = package(name, facts["version"], licence, licence, "", "APPLICATION" if is_tool else "LIBRARY",
                       f"pkg:npm/{urllib.parse.quote(name, safe='/')}@{facts['version']}")
        algorithm, _, value = facts.get("integrity", "").partition("-")
        if algorithm == "sha512":
            made["checksums"] = [{"algorithm": "SHA512", "checksumValue": base64.b64decode(value).hex()}]
        yield made, related(name, "BUILD_TOOL_OF", "loopscope") if is_tool else related("loopscope", "CONTAINS", name)


def document(source, version, when):
    own = package("loopscope", version, "Apache-2.0", "Apache-2.0", "", "APPLICATION")
    packages, relations = [own], [related("DOCUMENT", "DESCRIBES", "loopscope")]
    for made, relation in (*native_packages(), *npm_packages(source)):
        packages.append(made)
        relations.append(relation)
    body = {"packages": packages, "relationships": relations}
    # Two documents that differ have different names, and nobody has to be asked for one.
    identity = uuid.uuid5(uuid.NAMESPACE_URL, "loopscope " + when + json.dumps(body, sort_keys=True))
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"loopscope-{version}",
            "documentNamespace": f"urn:uuid:{identity}",
            "creationInfo": {"created": when, "creators": [f"Tool: loopscope-sbom-{version}"]}, **body}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.timezone.utc) if epoch is None else \
        datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc)
    made = document(options.source, options.version, now.strftime("%Y-%m-%dT%H:%M:%SZ"))
    with open(options.out, "w", encoding="utf-8") as file:
        json.dump(made, file, indent=1)
        file.write("\n")
    unknown = [entry["name"] for entry in made["packages"] if "versionInfo" not in entry]
    if unknown:
        print("sbom: no version found of " + ", ".join(unknown), file=sys.stderr)


if __name__ == "__main__":
    main()
