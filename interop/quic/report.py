"""The results: kept from run to run, and as the table of docs/interop.md."""

import json
import threading
from pathlib import Path

BEGIN, END = "<!-- made by interop/run: begin -->", "<!-- made by interop/run: end -->"
PASSED, FAILED, FAULT = "passed", "failed", "the peer's fault"
SIGNS = {PASSED: "✓", FAILED: "✗", FAULT: "p", None: ""}


class Results:
    """What became of each case: by case, client and server, one of the words above, or why it was left out."""

    def __init__(self, path):
        self.path, self.found, self.versions, self.lock = Path(path), {}, {}, threading.Lock()

    def load(self):
        """What earlier runs found, where there were any."""
        if self.path.exists():
            kept = json.loads(self.path.read_text())
            self.found = {tuple(key): value for key, value in kept["found"]}
            self.versions = kept["versions"]

    def put(self, key, value):
        """Keeps a result, also for later runs."""
        with self.lock:
            self.found[key] = value
            self.save()

    def save(self):
        kept = {"found": [[list(key), value] for key, value in self.found.items()], "versions": self.versions}
        self.path.write_text(json.dumps(kept, indent=1, ensure_ascii=False))

    def table(self, weir, cases):
        """In Markdown: a row a case, a column a peer; with weir as the client, then as the server."""
        others = list(dict.fromkeys(name for _, *pair in self.found for name in pair if name != weir))
        heads = " | ".join(f"{name} {self.versions.get(name, '')}" for name in others)
        rows = [f"| case | {weir} {self.versions.get(weir, '')} | {heads} |", "|---" * (len(others) + 2) + "|"]
        for case in cases:
            cells = [self.sign(case, weir, weir)]
            cells += [f"{self.sign(case, weir, other)} {self.sign(case, other, weir)}".strip() for other in others]
            rows.append(f"| {case} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def sign(self, case, client, server):
        found = self.found.get((case, client, server))
        return SIGNS.get(found, "–")

    def reasons(self, weir):
        """Why cases were left out, a line for each peer and reason."""
        said = {}
        for (case, client, server), found in self.found.items():
            if found not in SIGNS:
                other = server if client == weir else client
                said.setdefault(other, {}).setdefault(found, {})[case] = True
        lines = []
        for other, why in said.items():
            parts = "; ".join(f"{', '.join(cases)}: {words}" for words, cases in why.items())
            lines.append(f"- {other}: {parts}.")
        return "\n".join(lines)

    def faults(self, notes):
        """What is known of the cells with a p."""
        marked = dict.fromkeys(key for key, found in self.found.items() if found == FAULT)
        lines = [f"- {case}, {client} → {server}: {notes[case, client, server]}." for case, client, server in marked]
        return "\n".join(lines)

    def write(self, docs, weir, cases, notes):
        """Puts it all into the document, between its two marks."""
        parts = [self.table(weir, cases), self.reasons(weir), self.faults(notes)]
        text = docs.read_text()
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        made = "\n\n".join(part for part in parts if part)
        docs.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")
