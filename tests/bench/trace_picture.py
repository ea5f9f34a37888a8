#!/usr/bin/env python3
"""Draws a stretch of a Chrome trace that Tine wrote as SVG: the picture in the README.

usage: trace_picture.py TRACE.json OUT.svg [LAST_SECONDS]

One track per process: runs of tasks with their kernels inside, waits of the coordinator, suspended tasks below, and an arrow
from each fork to its run to its wait. It takes the last LAST_SECONDS (default: the last wait_all and what lies in it)."""
import html
import json
import sys

COLOURS = {"run": "#4c78a8", "kernel": "#72b7b2", "wait": "#bab0ac", "fork": "#e45756", "suspended": "#f2cf5b"}
WIDTH, LEFT, ROW, BAR, LANE = 1000, 150, 74, 26, 9


def main():
    events = json.load(open(sys.argv[1]))["traceEvents"]
    slices = [e for e in events if e["ph"] == "X" and e["cat"] in COLOURS]
    end = max(e["ts"] + e["dur"] for e in slices)
    waits = [e for e in slices if e["name"] == "wait_all"]
    begin = end - float(sys.argv[3]) * 1e6 if len(sys.argv) > 3 else waits[-1]["ts"] - 0.01 * waits[-1]["dur"]
    end = waits[-1]["ts"] + 1.01 * waits[-1]["dur"] if len(sys.argv) <= 3 else end
    names = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"}
    top = {pid: 34 + i * ROW for i, pid in enumerate(sorted(names))}
    height = 34 + len(names) * ROW + 8

    def x(ts):
        return LEFT + (ts - begin) / (end - begin) * (WIDTH - LEFT - 10)

    def inside(e):
        return begin <= e["ts"] and e["ts"] <= end

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
           '<defs><marker id="a" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="6" markerHeight="6" orient="auto">'
           '<path d="M0 0 6 3 0 6z" fill="#555"/></marker></defs>', f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    for k in range(11):
        ts = begin + (end - begin) * k / 10
        out.append(f'<path d="M{x(ts):.1f} 22V{height}" stroke="#eee"/>'
                   f'<text x="{x(ts):.1f}" y="16" text-anchor="middle" fill="#777">{(ts - begin) / 1e6:.2f} s</text>')
    for pid, name in names.items():
        out.append(f'<text x="8" y="{top[pid] + 17}">{html.escape(name.split(" (")[0])}</text>')

    for e in sorted(slices, key=lambda e: -e["dur"]):
        if not inside(e):
            continue
        kernel = e["cat"] == "kernel"
        y = top[e["pid"]] + (BAR - 14 if kernel else 0)
        w = max(x(e["ts"] + e["dur"]) - x(e["ts"]), 1)
        out.append(f'<rect x="{x(e["ts"]):.1f}" y="{y}" width="{w:.1f}" height="{14 if kernel else BAR}" rx="2" '
                   f'fill="{COLOURS[e["cat"]]}"/>')
        if w > 40 and not kernel:
            out.append(f'<text x="{x(e["ts"]) + 4:.1f}" y="{y + 10}" fill="#fff">{html.escape(e["name"])}</text>')
    suspended = {}
    lanes = {}
    for e in sorted((e for e in events if e["ph"] in "be"), key=lambda e: e["ts"]):
        key = (e["pid"], e["id"])
        if e["ph"] == "b":
            suspended[key] = e
        elif key in suspended and inside(suspended[key]):
            start = suspended.pop(key)
            busy = lanes.setdefault(e["pid"], [])
            lane = next((i for i, until in enumerate(busy) if until <= start["ts"]), len(busy))
            busy[lane:lane + 1] = [e["ts"]]
            y = top[e["pid"]] + BAR + 4 + lane * LANE
            out.append(f'<rect x="{x(start["ts"]):.1f}" y="{y}" width="{max(x(e["ts"]) - x(start["ts"]), 1):.1f}" height="{LANE - 2}" '
                       f'rx="2" fill="{COLOURS["suspended"]}"/>')
    flows = {}
    for e in events:
        if e["ph"] in "stf":
            flows.setdefault(e["id"], []).append(e)
    for chain in flows.values():
        chain = [e for e in sorted(chain, key=lambda e: e["ts"]) if inside(e)]
        for a, b in zip(chain, chain[1:]):
            if a["pid"] != b["pid"]:
                ya, yb = top[a["pid"]] + BAR / 2, top[b["pid"]] + BAR / 2
                out.append(f'<path d="M{x(a["ts"]):.1f} {ya}L{x(b["ts"]):.1f} {yb}" stroke="#555" stroke-width=".7" fill="none" '
                           f'marker-end="url(#a)"/>')
    legend = [("run", "task"), ("kernel", "kernel"), ("suspended", "suspended: waits for a fork"), ("wait", "wait")]
    for i, (kind, text) in enumerate(legend):
        out.append(f'<rect x="{LEFT + 170 * i}" y="{height - 14}" width="10" height="10" fill="{COLOURS[kind]}"/>'
                   f'<text x="{LEFT + 14 + 170 * i}" y="{height - 5}">{text}</text>')
    out.append("</svg>")
    open(sys.argv[2], "w").write("\n".join(out) + "\n")


main()
