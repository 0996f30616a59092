"""Medians, ratios and bars as tables that are Markdown and readable as they are."""

from statistics import median


def shown(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def middle(runs, field):
    values = [run[field] for run in runs if run.get(field) is not None]
    return median(values) if values else None


def cpu_per_gib(runs):
    costs = [
        (run["cpu_s"] + (run.get("server_cpu_s") or 0)) / (run["bytes"] / 2**30)
        for run in runs if run.get("cpu_s") and run.get("bytes")
    ]
    return median(costs) if costs else None


def rows(work, results):
    """Header and one row for each implementation."""
    fields = list(work.also)
    head = ["", work.unit, "least", "most", f"{work.weir} / it", *fields, "max RSS KiB"]
    if work.figure == "gbps":
        head.insert(5, "CPU s/GiB")
    table = [head]
    own = middle(results.get(work.weir, []), work.figure)
    for impl in work.impls:
        runs = results.get(impl)
        if not runs:
            continue
        value = middle(runs, work.figure)
        values = [run[work.figure] for run in runs]
        ratio = f"{own / value:.2f}" if own and value and impl != work.weir else ""
        row = [impl, shown(value), shown(min(values)), shown(max(values)), ratio]
        if work.figure == "gbps":
            row.append(shown(cpu_per_gib(runs)))
        row += [shown(middle(runs, field)) for field in fields]
        row.append(shown(middle(runs, "max_rss_kib")))
        table.append(row)
    return table


def aligned(table):
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = []
    for number, row in enumerate(table):
        cells = [cell.ljust(width) if column == 0 else cell.rjust(width)
                 for column, (cell, width) in enumerate(zip(row, widths))]
        lines.append("| " + " | ".join(cells) + " |")
        if number == 0:
            rule = ["-" * width if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
            lines.append("| " + " | ".join(rule) + " |")
    return "\n".join(lines)


def verdict(bar, work, results):
    """The bar, what was reached, and whether that is enough; None when it could not be measured."""
    runs = results.get(work.weir, [])
    own = middle(runs, bar.figure or work.figure)
    base = 1.0
    if bar.peer:
        peers = (bar.peer,) if isinstance(bar.peer, str) else bar.peer
        medians = [middle(results.get(peer, []), work.figure) for peer in peers]
        medians = [value for value in medians if value]
        base = (max(medians) if bar.least else min(medians)) if medians else None
    elif bar.against:
        base = middle(runs, bar.against)
    if own is None or not base:
        return {"bar": bar.text, "reached": None, "met": None}
    reached = own / base
    met = reached >= bar.factor if bar.least else reached <= bar.factor
    return {"bar": bar.text, "reached": round(reached, 3), "met": met}


def print_work(work, results):
    print(f"\n### {work.name}\n")
    print(aligned(rows(work, results)))
    verdicts = [verdict(bar, work, results) for bar in work.bars]
    print()
    for found in verdicts:
        word = {True: "met", False: "NOT met", None: "not measured"}[found["met"]]
        print(f"- {found['bar']}: {shown(found['reached'])}, {word}")
    return verdicts
