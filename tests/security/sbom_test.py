#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bill of materials is valid SPDX 2.3, complete, and says of licences what the packages themselves say; the page carries the
notices of what it holds. No network, no schema from elsewhere: the rules of the specification that concern us are below."""
import importlib.util
import json
import os
import re
import subprocess
import unittest
import uuid

SOURCE, BUILD = os.environ["SOURCE_DIR"], os.environ["BUILD_DIR"]

spec = importlib.util.spec_from_file_location("sbom", os.path.join(SOURCE, "cmake/sbom.py"))
sbom = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sbom)

LICENCES = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "GPL-2.0-or-later", "GPL-3.0-or-later", "LGPL-2.1-or-later",
            "LGPL-3.0-or-later", "MIT", "X11-distribute-modifications-variant", "Zlib", "curl"}
EXCEPTIONS = {"GCC-exception-3.1"}
RELATIONS = {"DESCRIBES", "DYNAMIC_LINK", "STATIC_LINK", "CONTAINS", "BUILD_TOOL_OF"}
# Each would bind those who pass loopscope on, and is offered with a choice or an exception that does not.
BINDING = re.compile(r"^(GPL|AGPL)")


def licences_of(expression):
    """The licences and exceptions of an SPDX expression of the form that we use: no parentheses, AND or OR between, WITH after."""
    for part in re.split(r" (?:AND|OR) ", expression):
        licence, _, exception = part.partition(" WITH ")
        yield licence, exception


def faults_of(document):
    faults = []

    def expect(condition, fault):
        if not condition:
            faults.append(fault)

    expect(document.get("spdxVersion") == "SPDX-2.3", "spdxVersion")
    expect(document.get("dataLicense") == "CC0-1.0", "dataLicense")
    expect(document.get("SPDXID") == "SPDXRef-DOCUMENT", "SPDXID of the document")
    expect(bool(document.get("name")), "name")
    expect(re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s#]+", document.get("documentNamespace", "")), "documentNamespace")
    created = document.get("creationInfo", {})
    expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created.get("created", "")), "created")
    creators = created.get("creators", [])
    expect(creators and all(re.match("(Tool|Person|Organization): .", creator) for creator in creators), "creators")
    ids = ["SPDXRef-DOCUMENT"] + [package.get("SPDXID", "") for package in document["packages"]]
    expect(len(ids) == len(set(ids)), "an SPDXID twice")
    for package in document["packages"]:
        name = package.get("name", "")
        expect(name, "a package without a name")
        expect(re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", package.get("SPDXID", "")), f"{name}: SPDXID")
        expect(re.fullmatch(r"NOASSERTION|NONE|https?://\S+", package.get("downloadLocation", "")), f"{name}: downloadLocation")
        expect(package.get("filesAnalyzed") is False, f"{name}: filesAnalyzed without files")
        expect(package.get("copyrightText"), f"{name}: copyrightText")
        expect(package.get("versionInfo"), f"{name}: no version")
        for key in ("licenseConcluded", "licenseDeclared"):
            expression = package.get(key, "")
            known = expression == "NOASSERTION" or all(
                licence in LICENCES and (not exception or exception in EXCEPTIONS) for licence, exception in licences_of(expression))
            expect(known, f"{name}: {key} {expression!r}")
        concluded, declared = package.get("licenseConcluded"), package.get("licenseDeclared")
        expect(concluded != "NOASSERTION", f"{name}: nothing concluded")
        expect(declared in ("NOASSERTION", concluded), f"{name}: we say {concluded}, it says {declared}")
        if package.get("primaryPackagePurpose") == "LIBRARY":
            expect(any(not BINDING.match(licence) or exception for licence, exception in licences_of(concluded)),
                   f"{name}: {concluded} would bind who passes loopscope on")
        for reference in package.get("externalRefs", []):
            expect(reference.get("referenceCategory") == "PACKAGE-MANAGER" and reference.get("referenceType") == "purl" and
                   re.fullmatch(r"pkg:(deb/debian|npm)/[^@\s]+@[^@\s:+]+", reference.get("referenceLocator", "")),
                   f"{name}: {reference}")
        for checksum in package.get("checksums", []):
            expect(checksum.get("algorithm") == "SHA512" and re.fullmatch("[0-9a-f]{128}", checksum.get("checksumValue", "")),
                   f"{name}: checksum")
    mentioned = set()
    for relation in document["relationships"]:
        ends = (relation.get("spdxElementId"), relation.get("relatedSpdxElement"))
        expect(all(end in ids for end in ends), f"a relationship with nobody: {ends}")
        expect(relation.get("relationshipType") in RELATIONS, f"relationship {relation.get('relationshipType')}")
        mentioned.update(ends)
    for one in sorted(set(ids) - mentioned):
        faults.append(f"{one} stands in no relationship")
    return faults


class BillOfMaterials(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(os.path.join(BUILD, "loopscope.spdx.json"), encoding="utf-8") as file:
            cls.text = file.read()
        cls.document = json.loads(cls.text)

    def test_is_valid(self):
        self.assertEqual(faults_of(self.document), [])

    def test_what_is_wrong_is_said(self):
        def broken(change):
            document = json.loads(self.text)
            change(document)
            return faults_of(document)

        libev = [package["name"] for package in self.document["packages"]].index("libev")
        for change, fault in (
                (lambda d: d.update(spdxVersion="SPDX-2.2"), "spdxVersion"),
                (lambda d: d.update(documentNamespace="urn:x#y"), "documentNamespace"),
                (lambda d: d["creationInfo"].update(created="2026-01-01"), "created"),
                (lambda d: d["packages"].append(d["packages"][0]), "an SPDXID twice"),
                (lambda d: d["packages"][libev].pop("versionInfo"), "libev: no version"),
                (lambda d: d["packages"][libev].update(licenseDeclared="MIT"),
                 "libev: we say BSD-2-Clause OR GPL-2.0-or-later, it says MIT"),
                (lambda d: d["packages"][libev].update(licenseConcluded="BSD2", licenseDeclared="NOASSERTION"),
                 "libev: licenseConcluded 'BSD2'"),
                (lambda d: d["packages"][libev].update(licenseConcluded="GPL-2.0-or-later", licenseDeclared="NOASSERTION"),
                 "libev: GPL-2.0-or-later would bind who passes loopscope on"),
                (lambda d: d["relationships"].pop(libev), "SPDXRef-libev stands in no relationship"),
                (lambda d: d["relationships"][0].update(relatedSpdxElement="SPDXRef-x"),
                 "a relationship with nobody: ('SPDXRef-DOCUMENT', 'SPDXRef-x')")):
            self.assertIn(fault, broken(change))

    def test_every_library_that_is_loaded_is_listed(self):
        """What the dynamic linker loads for the files that users get, by their own words."""
        looked_at = 0
        for path in os.environ["HARDENED_FILES"].split(","):
            dynamic = subprocess.run(["readelf", "--wide", "-d", path], capture_output=True, text=True, check=True, timeout=60).stdout
            for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
                looked_at += 1
                if needed.startswith("libloopscope"):
                    continue
                owners = [component.name for component in sbom.COMPONENTS
                          if any(needed.startswith(library) for library in component.libraries)]
                self.assertEqual(len(owners), 1, f"{path} needs {needed}, which belongs to {owners}")
        self.assertGreater(looked_at, 10)

    def test_licences_are_those_of_the_packages(self):
        if not os.path.exists("/usr/share/doc/libev-dev/copyright"):
            self.skipTest("no copyright files of Debian's here")
        read = {component.name for component in sbom.COMPONENTS if sbom.declared_licence(component) != sbom.UNKNOWN}
        # glibc's and GCC's are prose.
        self.assertEqual({component.name for component in sbom.COMPONENTS} - read, {"glibc", "gcc-runtime"})

    def test_the_page_is_listed_as_locked(self):
        with open(os.path.join(SOURCE, "webui/page/package-lock.json"), encoding="utf-8") as file:
            locked = json.load(file)["packages"]
        inside = {path.rpartition("node_modules/")[2]: facts["version"] for path, facts in locked.items()
                  if path and not facts.get("dev")}
        contained = {relation["relatedSpdxElement"] for relation in self.document["relationships"]
                     if relation["relationshipType"] == "CONTAINS"}
        listed = {package["name"]: package["versionInfo"] for package in self.document["packages"] if package["SPDXID"] in contained}
        self.assertEqual(listed, inside)
        self.assertLessEqual({"preact", "uplot"}, set(inside))

    def test_same_inputs_same_bytes(self):
        def made(epoch, name):
            out = os.path.join(BUILD, "Testing", name)
            os.makedirs(os.path.dirname(out), exist_ok=True)
            subprocess.run(["python3", os.path.join(SOURCE, "cmake/sbom.py"), "--source", SOURCE, "--version", "1.2.3", "--out", out],
                           check=True, timeout=120, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
            with open(out, encoding="utf-8") as file:
                return file.read()

        first, second, later = made("1000000000", "sbom-1"), made("1000000000", "sbom-2"), made("1000000001", "sbom-3")
        self.assertEqual(first, second)
        self.assertEqual(json.loads(first)["creationInfo"]["created"], "2001-09-09T01:46:40Z")
        namespaces = [json.loads(text)["documentNamespace"] for text in (first, later)]
        self.assertNotEqual(*namespaces)
        for namespace in namespaces:
            uuid.UUID(namespace.removeprefix("urn:uuid:"))


class NoticesOfThePage(unittest.TestCase):
    """Preact's and uPlot's licence wants its notice in all copies: the bundle, and so every saved report, has it in full."""

    def test_the_bundle_has_them(self):
        with open(os.path.join(BUILD, "webui/page/app.js"), encoding="utf-8") as file:
            bundle = file.read()
        for name in ("preact", "uplot"):
            with open(os.path.join(SOURCE, "webui/page/node_modules", name, "LICENSE"), encoding="utf-8") as file:
                notice = [line.strip() for line in file if line.strip()]
            self.assertTrue(any(line.startswith("Copyright") for line in notice), name)
            for line in notice:
                self.assertIn(line, bundle, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
