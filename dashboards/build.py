#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the Grafana dashboards: grafana/dashboards/*.json. They are in the repository; a test says if they are not up to date.

    python3 dashboards/build.py [DIRECTORY]

Here is what is shown and why; how Grafana wants it said is in the first half. The fleet dashboard reads what
prometheus/loopscope.rules.yml records, because it is for many processes; the two others need no rules.
"""

import json
import os
import sys

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# As the alerts have them (prometheus/loopscope.alerts.yml).
FULL = 0.95
LATE = 0.131072
STUCK = 5


def help_text(what, high, do):
    """A panel's description: shown as Markdown behind its (i)."""
    return f"{what}\n\n**High:** {high}\n\n**Do:** {do}"


def query(expression, legend="", kind="range"):
    """kind: range, instant (one value now), table (rows now), heatmap."""
    target = {"datasource": DATASOURCE, "editorMode": "code", "expr": expression, "legendFormat": legend or "__auto"}
    instant = kind in ("instant", "table")
    target |= {"instant": instant, "range": not instant}
    target["format"] = kind if kind in ("table", "heatmap") else "time_series"
    if kind == "heatmap":
        target["legendFormat"] = "{{le}}"
    return target


def steps(*pairs):
    """Colours from a value on: steps((None, "green"), (0.95, "red"))."""
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in pairs]}


GOOD = steps((None, "green"))


def panel(kind, title, description, queries, unit, options, custom=None, thresholds=GOOD, **defaults):
    field = {"unit": unit, "thresholds": thresholds, "color": {"mode": "palette-classic"}} | defaults
    if custom is not None:
        field["custom"] = custom
    queries = queries if isinstance(queries, list) else [queries]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": [target | {"refId": chr(ord("A") + i)} for i, target in enumerate(queries)],
        "fieldConfig": {"defaults": field, "overrides": []},
        "options": options,
    }


def stat(title, description, queries, unit="short", thresholds=GOOD, **defaults):
    options = {
        "colorMode": "background_solid" if len(thresholds["steps"]) > 1 else "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    return panel("stat", title, description, queries, unit, options, None, thresholds, color={"mode": "thresholds"}, **defaults)


def lines(title, description, queries, unit="short", stacked=False, limit=None, log=False, **defaults):
    """`limit`: a dashed line at the alert's threshold."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    if log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    thresholds = GOOD
    if limit is not None:
        thresholds = steps((None, "transparent"), (limit, "red"))
        custom["thresholdsStyle"] = {"mode": "dashed"}
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["max", "lastNotNull"],
                   "sortBy": "Max", "sortDesc": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, queries, unit, options, custom, thresholds, **defaults)


def heatmap(title, description, expression):
    options = {
        "calculate": False,
        "cellGap": 0,
        "cellValues": {"unit": "short"},
        # Few turns are the slow ones, and they matter: the exponent lets single ones be seen. Oranges: lightness tells, not hue.
        "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential", "exponent": 0.3, "steps": 64, "fill": "dark-orange",
                  "reverse": False},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
    }
    made = panel("heatmap", title, description, query(expression, kind="heatmap"), "short", options, {})
    del made["fieldConfig"]["defaults"]["color"], made["fieldConfig"]["defaults"]["unit"]
    made["maxDataPoints"] = 200
    return made


def table(title, description, columns, labels, sort, links=None):
    """columns: [(name, expression, unit, thresholds)]; each expression has one value for each combination of `labels`."""
    options = {"cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "countRows": False}, "frameIndex": 0,
               "showHeader": True, "sortBy": [{"displayName": sort, "desc": True}]}
    queries = [query(expression, kind="table") for _, expression, _, _ in columns]
    made = panel("table", title, description, queries, "short", options,
                 {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False, "filterable": True},
                 color={"mode": "thresholds"})
    names = {f"Value #{chr(ord('A') + i)}": column[0] for i, column in enumerate(columns)}
    order = {name: i for i, name in enumerate([*labels, *names])}
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}},
    ]
    overrides = made["fieldConfig"]["overrides"]
    for name, _, unit, thresholds in columns:
        properties = [{"id": "unit", "value": unit}]
        if thresholds:
            properties += [{"id": "thresholds", "value": thresholds},
                           {"id": "custom.cellOptions", "value": {"type": "color-background", "mode": "basic"}}]
        overrides.append({"matcher": {"id": "byName", "options": name}, "properties": properties})
    for name, title_of_link, url in links or []:
        overrides.append({"matcher": {"id": "byName", "options": name},
                          "properties": [{"id": "links", "value": [{"title": title_of_link, "url": url}]}]})
    return made


def variable(name, label, metric, upstream, multi=True, everything=True):
    """A choice of label values. `everything`: may be left open, and matches series without the label too."""
    of = ",".join(f'{other}=~"${other}"' for other in upstream)
    definition = f"label_values({metric}{{{of}}}, {name})"
    made = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": definition, "refId": f"variable-{name}"},
        "definition": definition,
        "refresh": 2,
        "sort": 7,
        "regex": "",
        "options": [],
        "multi": multi,
        "includeAll": everything,
        "hide": 0,
        "skipUrlSync": False,
        "current": {},
    }
    if everything:
        made |= {"allValue": ".*", "current": {"text": "All", "value": "$__all", "selected": True}}
    return made


def dashboard(uid, title, description, variables, rows):
    """rows: [(title, height, [(width, panel)...])...]; a row's panels wrap at 24."""
    panels, y = [], 0
    for row_title, height, members in rows:
        panels.append({"type": "row", "title": row_title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y, x = y + 1, 0
        for width, member in members:
            if x + width > 24:
                x, y = 0, y + height
            panels.append(member | {"gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x += width
        y += height
    for number, member in enumerate(panels, 1):
        member["id"] = number
    source = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "regex": "", "refresh": 1,
              "options": [], "multi": False, "includeAll": False, "hide": 0, "skipUrlSync": False, "current": {}}
    others = [
        {"type": "link", "title": name, "url": f"/d/loopscope-{name.replace(' ', '-')}", "icon": "dashboard", "tooltip": tooltip,
         "tags": [], "asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False}
        for name, tooltip in (("fleet", "Which loops are in trouble"), ("loop", "One loop"),
                              ("descriptors", "Open descriptors, and when they run out"))
        if uid != f"loopscope-{name}"
    ]
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["loopscope"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "annotations": {"list": []},
        "links": others,
        "templating": {"list": [source, *variables]},
        "panels": panels,
    }


# ---------------------------------------------------------------------------------------------------------------------------------

LOOP_LABELS = ["job", "instance", "process", "pid", "loop"]
PROCESS_LABELS = LOOP_LABELS[:-1]
BY_LOOP = f"by ({', '.join(LOOP_LABELS)})"
BY_PROCESS = f"by ({', '.join(PROCESS_LABELS)})"
LOOP_LEGEND = "{{process}} {{pid}} {{loop}} {{instance}}"
PROGRAM_LEGEND = "{{process}} {{loop}} ({{job}})"
TO_LOOP = ("loop", "This loop", "/d/loopscope-loop?${datasource:queryparam}&" + "&".join(
    f"var-{label}=${{__data.fields.{label}}}" for label in LOOP_LABELS) + "&${__url_time_range}")
TO_DESCRIPTORS = ("instance", "Its descriptors", "/d/loopscope-descriptors?${datasource:queryparam}&" + "&".join(
    f"var-{label}=${{__data.fields.{label}}}" for label in PROCESS_LABELS) + "&${__url_time_range}")
OURS = "and on (job, instance) loopscope_build_info"


def fleet():
    program = '{job=~"$job",process=~"$process",loop=~"$loop"}'
    programs = '{job=~"$job",process=~"$process"}'
    one = '{job=~"$job",instance=~"$instance",process=~"$process",loop=~"$loop"}'
    process = '{job=~"$job",instance=~"$instance",process=~"$process"}'
    bad = steps((None, "green"), (1, "red"))
    worth_a_look = steps((None, "green"), (1, "orange"))
    all_instances = " All instances together: the choice of instance does not count here."

    now = [
        (3, stat("Loops", help_text(
            "Loops that are watched.", "nothing by itself; a jump is a deployment, or a program that makes loops it does not end.",
            "compare with how many you expect: what is not scraped is not here."),
            query(f"count(loopscope_stalled_seconds{one})", kind="instant"))),
        (3, stat("Stalled now", help_text(
            "Loops that are in a turn longer than their stall threshold (100 ms, if the program set no other).",
            "they answer nobody.", "sort the table below by *stalled*, open the loop. If it is one and the same for long: runbook, "
            "*LoopscopeLoopStalled*."),
            query(f"count(loopscope_stalled_seconds{one} > 0) or vector(0)", kind="instant"), thresholds=bad)),
        (3, stat("Full", help_text(
            f"Loops that were busy more than {FULL:.0%} of the last 5 minutes.", "they have no time left; load that comes on top waits.",
            "open the loop and see which watcher takes the time."),
            query(f"count(loop:loopscope_utilization:ratio_rate5m{one} > {FULL}) or vector(0)", kind="instant"), thresholds=bad)),
        (3, stat("Late", help_text(
            "Loops of which one timer in a hundred runs more than 131 ms late.", "their time-outs and heartbeats cannot be relied on.",
            "open the loop: long turns make timers late; if there are none, the machine has no processor free."),
            query(f"count(loop:loopscope_timer_lag_seconds:p99_rate5m{one} > {LATE}) or vector(0)", kind="instant"),
            thresholds=worth_a_look)),
        (3, stat("Fullest process", help_text(
            "Open descriptors over the limit, of the process that is nearest to it.", "at 100 % accept(2) and open(2) fail.",
            "open *descriptors*: is there a kind that only grows?"),
            query(f"max(process:loopscope_open_fds:ratio{process})", kind="instant"), "percentunit",
            steps((None, "green"), (0.8, "orange"), (FULL, "red")))),
        (3, stat("Suspected leaks", help_text(
            "Descriptors that lie idle, opened at places which open ever more and close none. Known of processes under the probe only.",
            "something forgets to close.", "open *descriptors*; the page of loopscope names the place that opens them."),
            query(f"sum(loopscope_suspected_leaked_fds{process})", kind="instant"), thresholds=worth_a_look,
            noValue="unknown")),
        (3, stat("Errors", help_text(
            "Findings of severity *error* there are now.", "each is told with its evidence by loopscope itself.",
            "see below by rule; `loopscope top`, or the page, has the words."),
            query(f'sum(loopscope_findings{{severity="error",{process[1:]})', kind="instant"), thresholds=bad)),
        (3, stat("Targets down", help_text(
            "Targets that have answered as loopscope within 6 hours, and do not now.", "nothing is known of their loops.",
            "is the process gone, hung, or only its port? Runbook, *LoopscopeTargetDown*."),
            query('count(up{job=~"$job",instance=~"$instance"} == 0 and on (job, instance) last_over_time(loopscope_build_info[6h]))'
                  " or vector(0)", kind="instant"), thresholds=bad)),
    ]
    trouble = [(24, table(
        "Loops", help_text(
            "Every loop with what it does now; worst first. Click a column to sort by it, a loop to open it. *Late* and *slow turn* are "
            "the 99th percentiles of timer lag and busy time of the last 5 minutes, *stalls* the share of turns that were stalls.",
            "coloured cells are beyond what the alerts allow.",
            "stalled: what is it stuck in? Full: which watcher? Late without slow turns: is the machine full?"),
        [("stalled", f"max {BY_LOOP} (loopscope_stalled_seconds{one})", "s", steps((None, "transparent"), (0.001, "orange"), (STUCK, "red"))),
         ("utilization", f"max {BY_LOOP} (loop:loopscope_utilization:ratio_rate5m{one})", "percentunit",
          steps((None, "transparent"), (0.8, "orange"), (FULL, "red"))),
         ("slow turn", f"max {BY_LOOP} (loop:loopscope_busy_seconds:p99_rate5m{one})", "s", steps((None, "transparent"), (0.1, "orange"))),
         ("late", f"max {BY_LOOP} (loop:loopscope_timer_lag_seconds:p99_rate5m{one})", "s", steps((None, "transparent"), (LATE, "orange"))),
         ("stalls", f"max {BY_LOOP} (loop:loopscope_stalls:ratio_rate5m{one})", "percentunit", None),
         ("turns/s", f"max {BY_LOOP} (loop:loopscope_iterations:rate5m{one})", "short", None)],
        LOOP_LABELS, "utilization", [TO_LOOP]))]
    over_time = [
        (12, lines("Utilization, the busiest loop of each program", help_text(
            "Share of the last 5 minutes that the busiest loop of this name was busy." + all_instances,
            "a loop is one thread: near 100 % it cannot take more, however many processors are idle.",
            "open the loop. If only one of many is full, its load is not shared out evenly."),
            query(f"job_process_loop:loopscope_utilization:max{program}", PROGRAM_LEGEND), "percentunit", limit=FULL, min=0, max=1)),
        (12, lines("Utilization, mean of each program", help_text(
            "Mean over all loops of this name." + all_instances, "the whole program is short of threads or processes.",
            "add some, or take work out of the loops."),
            query(f"job_process_loop:loopscope_utilization:avg{program}", PROGRAM_LEGEND), "percentunit", min=0, max=1)),
        (12, lines("Slow turns: busy time, p99", help_text(
            "One turn in a hundred is busy for longer. From buckets that double: 1 ms stands for 0.5 to 1 ms." + all_instances,
            "whoever becomes ready during such a turn waits that long.", "open a loop of this program and see which watcher's p99 is as high."),
            query(f"job_process_loop:loopscope_busy_seconds:p99_rate5m{program}", PROGRAM_LEGEND), "s", log=True)),
        (12, lines("Late timers: timer lag, p99", help_text(
            "One timer in a hundred runs later than this after it is due." + all_instances, "time-outs, heartbeats and rate limits go wrong.",
            "look for slow turns first; without them the machine has no processor free."),
            query(f"job_process_loop:loopscope_timer_lag_seconds:p99_rate5m{program}", PROGRAM_LEGEND), "s", log=True, limit=LATE)),
        (12, lines("Late wake-ups: poll delay, p99", help_text(
            "How much longer than asked a wait took that ended by its time-out." + all_instances,
            "the kernel did not run the thread when it was due: no processor was free, or a container's quota is used up.",
            "look at CPU pressure and throttling of the machine; nothing in the program is at fault."),
            query(f"job_process_loop:loopscope_poll_delay_seconds:p99_rate5m{program}", PROGRAM_LEGEND), "s", log=True)),
        (12, lines("Poll wait, median", help_text(
            "How long a loop waits for the next event." + all_instances, "nothing bad: it has time. *Low*, with a high utilization, is a full loop; low "
            "with nothing to do is a spin.", "if it is near 0 without load, look for the finding *busy-spin*."),
            query(f"job_process_loop:loopscope_poll_wait_seconds:p50_rate5m{program}", PROGRAM_LEGEND), "s", log=True)),
        (12, lines("Stalls a second", help_text(
            "Turns that were longer than the stall threshold." + all_instances, "each is a time in which its loop answered nobody.",
            "open the loop; `loopscope check --max-stall` finds the line in a test."),
            query(f"job_process_loop:loopscope_stalls:sum_rate5m{program}", PROGRAM_LEGEND), "short")),
        (12, lines("Stall ratio", help_text(
            "Share of turns that were stalls." + all_instances, "not a hiccup, but how the program works.",
            "move the work to a thread, or cut it over several turns."),
            query(f"job_process_loop:loopscope_stalls:ratio_rate5m{program}", PROGRAM_LEGEND), "percentunit")),
        (12, heatmap("Busy time of all turns", help_text(
            "How many turns a second were busy for how long, of all chosen programs." + all_instances,
            "cells far above the rest are the turns that hurt. A second band is a kind of work that should not be in the loop.",
            "open the loops one by one until you see whose band it is."),
            f"sum by (le) (job_process_loop:loopscope_busy_seconds_bucket:sum_rate5m{program})")),
        (12, heatmap("Timer lag of all timers", help_text(
            "How many timers a second ran how late, of all chosen programs." + all_instances,
            "bands at the height of the busy time are timers that waited for a turn to end.", "see *busy time*; the same cure helps both."),
            f"sum by (le) (job_process_loop:loopscope_timer_lag_seconds_bucket:sum_rate5m{program})")),
    ]
    hottest = [
        (12, lines("The 10 fullest loops", help_text(
            "Share of the last 5 minutes that the loop was busy, a hang in progress included. At each moment the ten highest, so lines may break off.",
            "as above.", "open it from the table."),
            query(f"topk(10, loop:loopscope_utilization:ratio_rate5m{one})", LOOP_LEGEND), "percentunit", limit=FULL, min=0, max=1)),
        (12, lines("The 10 loops with the slowest turns", help_text(
            "99th percentile of the busy time. At each moment the ten highest, so lines may break off.", "as above.", "open it from the table."),
            query(f"topk(10, loop:loopscope_busy_seconds:p99_rate5m{one})", LOOP_LEGEND), "s", log=True)),
    ]
    programs_row = [
        (8, lines("Descriptors, share of the limit", help_text(
            "Of the process of each program that is nearest to its limit." + all_instances, "at 100 % accept(2) and open(2) fail.", "open *descriptors*."),
            query(f"job_process:loopscope_open_fds:max_ratio{programs}", "{{process}} ({{job}})"), "percentunit", limit=FULL, min=0, max=1)),
        (8, lines("Findings", help_text(
            "What loopscope's own rules say now, by rule; without mere infos." + all_instances, "each is explained in docs/findings.md.",
            "`loopscope top` or the page tells it with evidence and advice."),
            query(f'sum by (rule, severity) (job_process:loopscope_findings:sum{{severity!="info",{programs[1:]}) > 0', "{{rule}} ({{severity}})"),
            noValue="none")),
        (8, lines("Processes", help_text(
            "How many of each program are watched." + all_instances, "more than you started: old ones that do not end.",
            "a saw-tooth is a program that crashes and comes back: `loopscope report` reads what a crash left."),
            query(f"job_process:loopscope_processes:count{programs}", "{{process}} ({{job}})"))),
    ]
    return dashboard(
        "loopscope-fleet", "loopscope / fleet", "Which event loops are in trouble. Needs the recording rules of loopscope.",
        [variable("job", "Job", "loopscope_stalled_seconds", []),
         variable("instance", "Instance", "loopscope_stalled_seconds", ["job"]),
         variable("process", "Process", "loopscope_stalled_seconds", ["job", "instance"]),
         variable("loop", "Loop", "loopscope_stalled_seconds", ["job", "instance", "process"])],
        [("Now", 4, now), ("Which loops", 10, trouble), ("The ten worst", 8, hottest), ("By program", 8, over_time),
         ("Descriptors, findings, processes", 8, programs_row)])


def one_loop():
    one = '{job=~"$job",instance=~"$instance",process=~"$process",pid=~"$pid",loop=~"$loop"}'
    process = '{job=~"$job",instance=~"$instance",process=~"$process",pid=~"$pid"}'
    window = "[$__rate_interval]"
    busy = f"clamp_max(sum(rate(loopscope_busy_seconds_sum{one}{window})), 1)"

    def quantile(q, metric, by="le"):
        return f"histogram_quantile({q}, sum by ({by}) (rate(loopscope_{metric}_bucket{one}{window})))"

    def quantiles(metric):
        return [query(quantile(q, metric), name) for q, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))]

    def mean(metric):
        return f"sum(rate(loopscope_{metric}_sum{one}{window})) / sum(rate(loopscope_{metric}_count{one}{window}))"

    buckets = " Quantiles come from buckets that double: 1 ms stands for 0.5 to 1 ms; the page of loopscope is exact to 2 %."
    now = [
        (3, stat("Stalled for", help_text(
            "Age of the stall in progress; 0: there is none.", "the loop is stuck in one turn.",
            "`loopscope report PID` or the page names the watcher that is running."),
            query(f"max(loopscope_stalled_seconds{one})", kind="instant"), "s", steps((None, "green"), (0.001, "orange"), (STUCK, "red")))),
        (3, stat("Utilization", help_text(
            "Busy time a second. A turn counts when it ends.", "near 100 % the loop has no time left.", "see *time by watcher*."),
            query(busy, kind="instant"), "percentunit", steps((None, "green"), (0.8, "orange"), (FULL, "red")))),
        (3, stat("Turns/s", help_text(
            "Waits that returned, a second.", "many short turns: events come singly; with nothing to do, a spin.",
            "compare with *ready events*: many turns of few events cost system calls."),
            query(f"sum(rate(loopscope_iterations_total{one}{window}))", kind="instant"))),
        (3, stat("Slow turn (p99)", help_text(
            "One turn in a hundred is busy for longer." + buckets, "whoever is ready meanwhile waits that long.", "see *p99 by watcher*."),
            query(quantile(0.99, "busy_seconds"), kind="instant"), "s", steps((None, "green"), (0.1, "orange")))),
        (3, stat("Late (p99)", help_text(
            "One timer in a hundred runs later than this." + buckets, "time-outs and heartbeats go wrong.", "look for slow turns first."),
            query(quantile(0.99, "timer_lag_seconds"), kind="instant"), "s", steps((None, "green"), (LATE, "orange")), noValue="no timers")),
        (3, stat("Ready events a turn", help_text(
            "Events that one wait returns, on average.", "the loop works in batches: more is done a turn, and each waits longer.",
            "only with slow turns: serve fewer events a turn."),
            query(mean("ready_events"), kind="instant"))),
        (3, stat("Stalls in this time", help_text(
            "Turns longer than the stall threshold in the time that is shown.", "each stopped all that the loop serves.",
            "find them in the heatmap, and the watcher below it."),
            query(f"sum(increase(loopscope_stalls_total{one}[$__range]))", kind="instant"), thresholds=steps((None, "green"), (1, "orange")), decimals=0)),
        (3, stat("Findings", help_text(
            "What loopscope's rules say of the whole process now, without mere infos.", "each is told with evidence and advice by loopscope.",
            "`loopscope top`, or the page."),
            query(f'sum(loopscope_findings{{severity!="info",{process[1:]})', kind="instant"), thresholds=steps((None, "green"), (1, "orange")))),
    ]
    series = [
        (12, lines("Utilization", help_text(
            "Share of the time that the loop was busy. A turn counts when it ends: a hang shows in *stalled* first.",
            "it is one thread: near 100 % it cannot take more.", "see *time by watcher*; move work out, or share it among more loops."),
            query(busy, "busy"), "percentunit", limit=FULL, min=0, max=1)),
        (12, lines("Turns, by what ended the wait", help_text(
            "*events*: something was ready; *saturated*: more than there was room for; *timeout*: a timer was due, or it did not wait at all; "
            "*interrupted*: a signal.", "*timeout* far above the number of timers is a spin; *saturated*: always behind.",
            "spin: look for an idle watcher that stays active. Saturated: take more events a wait."),
            query(f"sum by (result) (rate(loopscope_poll_returns_total{one}{window}))", "{{result}}"), stacked=True)),
        (12, lines("Busy: time of one turn outside the wait", help_text(
            "Callbacks and the library's own work, turn by turn." + buckets, "everything else that the loop serves waits meanwhile.",
            "p99 high, p50 low: single slow callbacks; both high: too much in each turn."), quantiles("busy_seconds"), "s", log=True)),
        (12, lines("Poll wait", help_text(
            "How long one turn waited for events." + buckets, "nothing bad: the loop has time. *Low* without load is a spin.",
            "near 0 without load: look for the finding *busy-spin*."), quantiles("poll_wait_seconds"), "s", log=True)),
        (12, lines("Timer lag", help_text(
            "How long after its due time a timer's callback ran." + buckets, "time-outs and heartbeats go wrong.",
            "at the height of *busy*: a slow turn held them up; at that of *poll delay*: the machine did."),
            quantiles("timer_lag_seconds"), "s", log=True, limit=LATE)),
        (12, lines("Poll delay", help_text(
            "How much longer than asked a wait took that ended by its time-out." + buckets,
            "no processor was free for the thread, or a container's quota is used up.",
            "look at CPU pressure and throttling; the program is not at fault."), quantiles("poll_delay_seconds"), "s", log=True)),
        (12, lines("Ready events a turn", help_text(
            "How many events one wait returns.", "the loop works in batches: the last of a batch waits for all others.",
            "fewer events a wait, if *busy* is high with it."), [query(mean("ready_events"), "mean"), *quantiles("ready_events")])),
        (12, lines("Stalled", help_text(
            "Age of the stall in progress at each scrape; and how many stalls a minute there were.", "the loop is stuck, or stalls again and again.",
            "`loopscope report PID` names what it is stuck in. Short stalls fall between two scrapes: their number is complete."),
            [query(f"max(loopscope_stalled_seconds{one})", "age of the stall (s)"),
             query(f"60 * sum(rate(loopscope_stalls_total{one}{window}))", "stalls a minute")])),
    ]
    def bucket_rates(metric):
        return f"sum by (le) (rate(loopscope_{metric}_bucket{one}{window}))"
    heat = [
        (12, heatmap("Busy: time × length of a turn", help_text(
            "How many turns a second were busy for how long; each row is twice the one below. Single turns are visible.",
            "cells far above the rest are the turns that hurt. A second band is a kind of work that should not be in the loop.",
            "note the time, and see which watcher's p99 was up then."), bucket_rates("busy_seconds"))),
        (12, heatmap("Timer lag: time × lateness", help_text(
            "How many timers a second ran how late.", "a band at the height of *busy* is timers that waited for a turn to end; a thin spread up to 1 ms is "
            "the kernel's own.", "cure the slow turns first."), bucket_rates("timer_lag_seconds"))),
        (12, heatmap("Poll wait: time × length of a wait", help_text(
            "How many waits a second took how long.", "nothing bad: it has time. A dark band at the bottom without load is a spin.",
            "spin: look for an idle watcher, or a timer that is always due."), bucket_rates("poll_wait_seconds"))),
        (12, heatmap("Poll delay: time × lateness of the wake-up", help_text(
            "How many waits that timed out a second took how much longer than asked.", "the kernel did not run the thread in time.",
            "look at CPU pressure and throttling."), bucket_rates("poll_delay_seconds"))),
    ]
    watchers = [
        (8, lines("Time by watcher", help_text(
            "Seconds a second in each watcher's callbacks; stacked, they are the utilization that has a name. Known where watchers are named "
            "(the library).", "that watcher is what the loop spends its time on.", "make its callback shorter, or call it less often."),
            query(f"sum by (watcher, kind) (rate(loopscope_callback_seconds_sum{one}{window})) > 0", "{{watcher}} ({{kind}})"), "percentunit",
            stacked=True, noValue="no named watchers")),
        (8, lines("Slow callbacks: p99 by watcher", help_text(
            "One callback in a hundred takes longer." + buckets, "a single call holds up all others.",
            "does it block (files, names, locks)? Move that to a thread."),
            query(quantile(0.99, "callback_seconds", "watcher, kind, le") + " > 0", "{{watcher}} ({{kind}})"), "s", log=True,
            noValue="no named watchers")),
        (8, lines("Calls by watcher", help_text(
            "Callbacks a second.", "much traffic; or an event that is never consumed and so comes again and again.",
            "more calls than there are messages: read until EAGAIN."),
            query(f"sum by (watcher, kind) (rate(loopscope_callback_seconds_count{one}{window})) > 0", "{{watcher}} ({{kind}})"),
            noValue="no named watchers")),
        (8, lines("Time without a name", help_text(
            "Busy seconds a second outside all named callbacks: unnamed watchers and the library's own work.",
            "you do not see where the time goes.", "name more watchers (the library)."),
            query(f"clamp_min(sum(rate(loopscope_busy_seconds_sum{one}{window})) - sum(rate(loopscope_callback_seconds_sum{one}{window})), 0)", "unnamed"),
            "percentunit", noValue="no named watchers")),
        (8, lines("Registered descriptors", help_text(
            "Descriptors in the loop's epoll set.", "many connections; if it only grows, they are not closed.", "open *descriptors*."),
            query(f"sum(loopscope_registered_fds{one})", "registered"))),
        (8, lines("Ready of registered", help_text(
            "Ready events a wait over the number of registered descriptors, of the recent turns.",
            "near 100 %: all of them are active all the time. Some may be registered for writing without having anything to write.",
            "with a high utilization: register for writing only while something waits to be written."),
            query(f"max(loopscope_active_ready_ratio{one})", "ready / registered"), "percentunit", min=0)),
    ]
    return dashboard(
        "loopscope-loop", "loopscope / one loop", "What one event loop does. Needs no recording rules.",
        [variable("job", "Job", "loopscope_stalled_seconds", [], False, False),
         variable("instance", "Instance", "loopscope_stalled_seconds", ["job"], False, False),
         variable("process", "Process", "loopscope_stalled_seconds", ["job", "instance"], False),
         variable("pid", "Pid", "loopscope_stalled_seconds", ["job", "instance", "process"], False),
         variable("loop", "Loop", "loopscope_stalled_seconds", ["job", "instance", "process", "pid"], False, False)],
        [("Now", 4, now), ("Over time", 8, series), ("Heatmaps", 9, heat), ("Watchers and descriptors", 8, watchers)])


def descriptors():
    process = '{job=~"$job",instance=~"$instance",process=~"$process",pid=~"$pid"}'
    inner = process[1:-1]
    loop = f'{{{inner},loop=~"$loop"}}'
    legend = "{{process}} {{pid}} {{instance}}"
    opened, limit = f"process_open_fds{process}", f"process_max_fds{process}"
    growth = f"deriv({opened}[30m])"
    until = f"({limit} - {opened}) / ({growth} > 0)"
    week = 7 * 24 * 3600
    straight = " By the straight line through the last half hour (less, if it is not known for so long)."
    probe = " Known of processes under the probe only."

    now = [
        (4, stat("Open", help_text(
            "Open descriptors of all chosen processes.", "connections, files, or a leak.", "see by kind below which of them."),
            query(f"sum({opened} {OURS})", kind="instant"))),
        (5, stat("Fullest process", help_text(
            "Open descriptors over the limit, of the process that is nearest to it.", "at 100 % accept(2) and open(2) fail with EMFILE.",
            "raise the limit (`ulimit -n`, `LimitNOFILE=`) if nothing leaks; else see *suspected leaks*."),
            query(f"max({opened} / {limit} {OURS})", kind="instant"), "percentunit", steps((None, "green"), (0.8, "orange"), (FULL, "red")))),
        (5, stat("First at its limit in", help_text(
            "When the first of the chosen processes has no descriptor left, if it grows on." + straight,
            "*low* is bad: below an hour the alert fires.", "see the table for which process it is."),
            query(f"min({until} {OURS})", kind="instant"), "dtdurations", steps((None, "red"), (3600, "orange"), (24 * 3600, "green")),
            noValue="not growing")),
        (5, stat("Suspected leaks", help_text(
            "Descriptors that lie idle, opened at places which open ever more and close none." + probe, "something forgets to close.",
            "`loopscope report PID` or the page names the place."),
            query(f"sum(loopscope_suspected_leaked_fds{process})", kind="instant"), thresholds=steps((None, "green"), (1, "orange")),
            noValue="unknown")),
        (5, stat("Findings", help_text(
            "Findings about descriptors there are now (fd-growth, fd-limit).", "loopscope tells each with its evidence.", "`loopscope top`, or the page."),
            query(f'sum(loopscope_findings{{rule=~"fd-.*",{process[1:]})', kind="instant"), thresholds=steps((None, "green"), (1, "orange")))),
    ]
    which = [(24, table(
        "Processes", help_text(
            "Each process: open descriptors, its limit, growth, and when it reaches the limit." + straight, "coloured cells are near the limit.",
            "click the instance to see this process alone."),
        [("open", f"max {BY_PROCESS} ({opened} {OURS})", "short", None),
         ("limit", f"max {BY_PROCESS} ({limit} {OURS})", "short", None),
         ("share", f"max {BY_PROCESS} ({opened} / {limit} {OURS})", "percentunit", steps((None, "transparent"), (0.8, "orange"), (FULL, "red"))),
         ("growth an hour", f"max {BY_PROCESS} (3600 * {growth} {OURS})", "short", None),
         ("limit in", f"max {BY_PROCESS} ({until} {OURS})", "dtdurations",
          steps((None, "red"), (3600, "orange"), (24 * 3600, "transparent")))],
        PROCESS_LABELS, "share", [TO_DESCRIPTORS]))]
    kinds = [
        (12, lines("Open, by kind", help_text(
            "Open descriptors of the chosen processes, stacked by kind.", "the kind that grows says where to look: *tcp* connections, *file*, *pipe* "
            "children, *eventfd* and *timerfd* loops.", "does it come back down when load does? If not, see *growth*."),
            query(f"sum by (kind) (loopscope_open_fds{process}) > 0", "{{kind}}"), stacked=True)),
        (12, lines("Growth an hour, by kind", help_text(
            "Descriptors more (or fewer) an hour." + straight, "a kind that stays above 0 for hours is a leak, a cache without a limit, or more users.",
            "compare with what the program serves; ask loopscope who opens that kind."),
            query(f"3600 * sum by (kind) (deriv(loopscope_open_fds{process}[30m])) != 0", "{{kind}}"), noValue="none")),
        (12, lines("Opened a second, by kind", help_text(
            "Descriptors opened." + probe, "connections or files are opened for each request: each costs system calls.",
            "keep connections alive; keep files open."),
            query(f"sum by (kind) (rate(loopscope_fd_opens_total{process}[$__rate_interval])) > 0", "{{kind}}"), noValue="unknown, or none")),
        (12, lines("Opened and not closed, a second", help_text(
            "Descriptors opened less those closed, by kind." + probe, "above 0 for long: more are opened than closed.",
            "the place that opens them is named by `loopscope report PID`."),
            query(f"sum by (kind) (rate(loopscope_fd_opens_total{process}[$__rate_interval]) - "
                  f"rate(loopscope_fd_closes_total{process}[$__rate_interval])) != 0", "{{kind}}"), noValue="unknown, or none")),
    ]
    limits = [
        (12, lines("Share of the limit", help_text(
            "Open descriptors over the process' limit.", "at 100 % accept(2) and open(2) fail with EMFILE.", "see *growth by kind*; raise the limit if nothing leaks."),
            query(f"{opened} / {limit} {OURS}", legend), "percentunit", limit=FULL, min=0, max=1)),
        (12, lines("Time until the limit", help_text(
            "When the process has no descriptor left, if it grows on; not shown beyond a week." + straight, "plenty of time. *Low* is bad.",
            "below an hour: find out who grows; a restart buys time."),
            query(f"({until} {OURS}) < {week}", legend), "dtdurations", min=0, noValue="not growing")),
        (12, lines("Suspected leaks", help_text(
            "Descriptors that lie idle, opened at places which open ever more and close none." + probe, "something forgets to close.",
            "`loopscope report PID` or the page names the place."),
            query(f"loopscope_suspected_leaked_fds{process}", legend), noValue="unknown")),
        (12, lines("Registered in an epoll set, by loop", help_text(
            "Descriptors that a loop waits for.", "many connections.", "far fewer than are open: the others are idle files, or forgotten."),
            query(f"sum by (process, pid, loop) (loopscope_registered_fds{loop})", "{{process}} {{pid}} {{loop}}"))),
    ]
    return dashboard(
        "loopscope-descriptors", "loopscope / descriptors", "Open descriptors: growth by kind, and when the limit is reached. Needs no recording rules.",
        [variable("job", "Job", "loopscope_stalled_seconds", []),
         variable("instance", "Instance", "loopscope_stalled_seconds", ["job"]),
         variable("process", "Process", "loopscope_stalled_seconds", ["job", "instance"]),
         variable("pid", "Pid", "loopscope_stalled_seconds", ["job", "instance", "process"]),
         variable("loop", "Loop", "loopscope_stalled_seconds", ["job", "instance", "process", "pid"])],
        [("Now", 4, now), ("Which process", 9, which), ("By kind", 8, kinds), ("Until the limit", 8, limits)])


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "grafana", "dashboards")
    os.makedirs(directory, exist_ok=True)
    for name, made in (("fleet", fleet()), ("loop", one_loop()), ("descriptors", descriptors())):
        with open(os.path.join(directory, f"loopscope-{name}.json"), "w", encoding="utf-8") as file:
            json.dump(made, file, indent=1, ensure_ascii=False)
            file.write("\n")


if __name__ == "__main__":
    main()
