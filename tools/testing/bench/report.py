# SPDX-License-Identifier: GPL-2.0
"""What was measured, as a table for people."""

from measure import BURST, LARGE, MEGABYTES, SMALL, median


# Bytes that an increment of less than 1,000 pages may have beyond those of the pages.
FEW_MORE = 12 << 10


def time_of(us):
    """Microseconds in words."""
    return f"{us / 1000:,.2f} ms" if us < 100_000 else f"{us / 1e6:,.2f} s"


def size(count):
    """Bytes in words."""
    return f"{count / 1e6:,.2f} MB"


class Report:
    """Collects the lines, and the demands with what became of them."""

    def __init__(self):
        self.lines, self.demands = [], []

    def line(self, *columns):
        """A row of the table."""
        first, *others = columns
        self.lines.append(f"  {first:<34}" + "".join(f"{text:>16}" for text in others))

    def demand(self, what, figure, limit, at_least):
        """A figure that is demanded: what became of it, in a word."""
        met = figure >= limit if at_least else figure <= limit
        self.demands.append({"what": what, "figure": round(figure, 4), "demanded": f"{'>=' if at_least else '<='} {limit}",
                             "met": met})
        return "met" if met else "missed"

    def ratio(self, title, form, ours, theirs, wanted=None, setting=""):
        """A row with geist's value, criu's, and how many times smaller geist's is."""
        times = theirs / max(ours, 1)
        verdict = ""
        if wanted:
            verdict = f">= {wanted} x: " + self.demand(f"{title}, huge pages {setting}: times shorter than criu's",
                                                        times, wanted, True)
        self.line(title, form(ours), form(theirs), f"{times:,.1f} x", verdict)

    def increments(self, part):
        """One setting of huge pages."""
        setting = part["huge_pages"]
        ours, theirs = part["geist"]["increments"], part["criu"]["increments"]
        self.lines.append(f"\nMAW {part['megabytes']} MB, 16 random writes every 10 ms, an increment every "
                          f"{part['rounds_between']} of those; huge pages {setting}; medians of {len(ours)}")
        self.line("", "geist", "criu", "criu / geist", "demanded")
        self.line("pages stored", f"{median(ours, 'pages'):,.0f}", f"{median(theirs, 'pages'):,.0f}")
        self.ratio("pause", time_of, median(ours, "pause_us"), median(theirs, "pause_us"), 200, setting)
        self.line("  slowest", *(time_of(max(one["pause_us"] for one in many)) for many in (ours, theirs)))
        fork = median(part["fork"], "pause_us")
        self.line("  of fork() of the same program", "", time_of(fork),
                  f"{fork / max(median(ours, 'pause_us'), 1):,.1f} x")
        self.ratio("whole increment", time_of, median(ours, "total_us"), median(theirs, "command_us"), 10, setting)
        for key in ("capture_us", "write_us", "commit_us"):
            self.line(f"  of that {key[:-3]}", time_of(median(ours, key)))
        self.ratio("  with the start of its client", time_of, median(ours, "command_us"), median(theirs, "command_us"))
        self.ratio("bytes of all its files", size, median(ours, "bytes_on_disk"), median(theirs, "bytes_on_disk"))
        first, their_first = part["geist"]["first"], part["criu"]["first"]
        self.ratio("the first, complete one: pause", time_of, first["pause_us"], their_first["pause_us"])
        self.ratio("the first, complete one: command", time_of, first["command_us"], their_first["command_us"])

    def sizes(self, parts):
        """Increments of a program that is stopped, against what of its memory is other than before."""
        self.lines.append(f"\nAll bytes of an increment of geist against those of the pages that changed, medians of "
                          f"{len(parts[0]['increments'])}")
        self.line("huge pages", "changed", "stored", "ratio", "bytes more", "demanded")
        for part in parts:
            found, setting = part["increments"], part["huge_pages"]
            changed, figure, more = (median(found, key) for key in ("changed", "bytes_ratio", "bytes_more"))
            if changed >= 1000:
                verdict = "ratio <= 1.05: " + self.demand(
                    f"bytes of an increment / bytes of the pages that changed, huge pages {setting}", figure, 1.05, False)
            else:
                verdict = f"<= {FEW_MORE:,}: " + self.demand(
                    f"bytes of an increment beyond those of {changed:.0f} pages that changed, huge pages {setting}",
                    more, FEW_MORE, False)
            self.line(setting, f"{changed:,.0f}", f"{median(found, 'pages'):,.0f}", f"{figure:.4f}", f"{more:,.0f}",
                      f"  {verdict}")

    def pauses(self, parts):
        """The pause against the size of the program."""
        self.lines.append(f"\nPause of geist at {BURST:,} writes, medians of {len(parts[0]['increments'])}")
        self.line("huge pages", f"{SMALL} MB", f"{LARGE:,} MB", "ratio", "demanded")
        for setting in ("always", "never"):
            found = {part["megabytes"]: part["increments"] for part in parts if part["huge_pages"] == setting}
            small, large = median(found[SMALL], "pause_us"), median(found[LARGE], "pause_us")
            verdict = self.demand(f"pause with {LARGE} MB / with {SMALL} MB, huge pages {setting}",
                                  large / max(small, 1), 1.3, False)
            self.line(setting, time_of(small), time_of(large), f"{large / max(small, 1):.2f}", f"<= 1.3: {verdict}")
            self.line("  pages stored", *(f"{median(found[mb], 'pages'):,.0f}" for mb in (SMALL, LARGE)))
            self.line("  capture", *(time_of(median(found[mb], "capture_us")) for mb in (SMALL, LARGE)))

    def intervals(self, parts):
        """A program that is watched."""
        self.lines.append(f"\nMAW {MEGABYTES} MB, 16 random writes every 10 ms, a version every 10 ms, {parts[0]['keep']} kept; "
                          f"{parts[0]['seconds']} s")
        self.line("huge pages", *(part["huge_pages"] for part in parts))
        self.line("versions", *(f"{part['versions']:,}" for part in parts))
        self.line("skipped, errors", *(f"{part['skipped']:,}, {part['errors']}" for part in parts))
        self.line("pages of a version", *(f"{part['total_pages'] / part['versions']:,.1f}" for part in parts))
        self.line("pause, mean", *(time_of(part["total_pause_us"] / part["versions"]) for part in parts))
        self.line("rounds of MAW per second, alone", *(f"{part['rounds_per_s_alone']:.1f}" for part in parts))
        self.line("  watched", *(f"{part['rounds_per_s_watched']:.1f}" for part in parts))
        self.line("slowdown", *(f"{part['rounds_per_s_alone'] / part['rounds_per_s_watched']:.3f}" for part in parts))


def report(found):
    """The table; adds what became of the demanded figures to the measurements."""
    table = Report()
    table.lines.append("geist, measured " + ", ".join(f"{key} {value}" for key, value in found["environment"].items()))
    for part in found["increments"]:
        table.increments(part)
    if found["sizes"]:
        table.sizes(found["sizes"])
    if found["pause_by_size"]:
        table.pauses(found["pause_by_size"])
    if found["intervals"]:
        table.intervals(found["intervals"])
    missed = [one for one in table.demands if not one["met"]]
    table.lines.append(f"\n{len(table.demands) - len(missed)} figures met, {len(missed)} missed"
                       + "".join(f"\n  missed: {one['what']}: {one['figure']:,.2f}, demanded {one['demanded']}"
                                 for one in missed))
    found["demands"] = table.demands
    return "\n".join(table.lines) + "\n"
