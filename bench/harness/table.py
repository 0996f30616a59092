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


def ratios(work, results, impl, value):
    """What the figure is beside others'."""
    if not work.bases:
        own = middle(results.get(work.weir, []), work.figure)
        return [f"{own / value:.2f}" if own and value and impl != work.weir else ""]
    bases = [middle(results.get(base, []), work.figure) for base in work.bases]
    return [f"{value / base:.2f}" if value and base and impl != name else ""
            for name, base in zip(work.bases, bases)]


def rows(work, results):
    """Header and one row for each implementation."""
    fields = [*work.also, "max_rss_kib"]
    names = [*work.also, "max RSS KiB"]
    if work.figure == "gbps":
        fields, names = ["cpu_per_gib", *fields], ["CPU s/GiB", *names]
    beside = [f"/ {base}" for base in work.bases] or [f"{work.weir} / it"]
    table = [["", work.unit, "least", "most", *beside, *names]]
    for impl in work.impls:
        runs = results.get(impl)
        if not runs:
            continue
        value = middle(runs, work.figure)
        values = [run[work.figure] for run in runs]
        table.append([impl, shown(value), shown(min(values)), shown(max(values)), *ratios(work, results, impl, value),
                      *(shown(middle(runs, field)) for field in fields)])
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


def verdict(bar, work, everything):
    """The bar, what was reached, and whether that is enough; None when it could not be measured."""
    results = everything[work.name]
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
    elif bar.work:
        base = middle(everything.get(bar.work, {}).get(work.weir, []), work.figure)
    if own is None or not base:
        return {"bar": bar.text, "reached": None, "met": None}
    reached = own / base
    met = reached >= bar.factor if bar.least else reached <= bar.factor
    return {"bar": bar.text, "reached": round(reached, 3), "met": met}


WORDS = {True: "met", False: "NOT met", None: "not measured"}


def print_work(work, everything, heading="###"):
    print(f"\n{heading} {work.name}\n")
    print(aligned(rows(work, everything[work.name])))
    verdicts = [verdict(bar, work, everything) for bar in work.bars]
    if verdicts:
        print()
    for found in verdicts:
        print(f"- {found['bar']}: {shown(found['reached'])}, {WORDS[found['met']]}")
    return verdicts


def print_bars(works, everything):
    """All bars in one table."""
    table = [["work", "bar", "measured", ""]]
    for work in works:
        for bar in work.bars:
            found = verdict(bar, work, everything)
            table.append([work.name, found["bar"], shown(found["reached"]), WORDS[found["met"]]])
    print(aligned(table))
