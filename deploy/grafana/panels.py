"""The forms that panels of the dashboard have, and the expressions that are asked for in all of them."""

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

TEAM, MODEL, REGION = 'team=~"$team"', 'model=~"$model"', 'region=~"$region"'
JOB = 'job=~"$job"'
# The families with OpenTelemetry's names have its name for the model.
BY_MODEL = "gen_ai_request_model"
GEN_AI_MODEL = f'{BY_MODEL}=~"$model"'
RATE = "$__rate_interval"


# Expressions.


def of(metric, *labels):
    return f"{metric}{{{', '.join((JOB, *labels))}}}"


def rate(metric, *labels, by=""):
    return f"sum{by and f' by ({by})'} (rate({of(metric, *labels)}[{RATE}]))"


def grown(metric, *labels, by=""):
    """How much counters grew within the time that is shown, the first value of those that appeared in it included:
    `increase` alone would miss each team's first call after a start."""
    series, span = of(metric, *labels), "$__range"
    born = f"(min_over_time({series}[{span}]) unless {series} offset {span})"
    return f"sum{by and f' by ({by})'} ((increase({series}[{span}]) + {born}) or increase({series}[{span}]))"


def quantile(q, metric, *labels, by=""):
    return f"histogram_quantile({q}, sum by ({by and by + ', '}le) (rate({of(metric + '_bucket', *labels)}[{RATE}])))"


def quantiles(metric, *labels):
    return [(quantile(q, metric, *labels), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)]


# Panels. Queries are pairs of an expression and a legend, or an expression alone.


def targets(queries, **more):
    queries = [queries] if isinstance(queries, (str, tuple)) else queries
    pairs = [(query, "") if isinstance(query, str) else query for query in queries]
    return [
        {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expr, "legendFormat": legend or "__auto", **more}
        for n, (expr, legend) in enumerate(pairs)
    ]


def panel(kind, title, description, queries, unit, *, size, defaults=None, options=None, overrides=(), **more):
    field = {"unit": unit, "color": {"mode": "palette-classic"}, "mappings": [], "noValue": "none", **(defaults or {})}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": queries,
        "fieldConfig": {"defaults": field, "overrides": list(overrides)},
        "options": options or {},
        "size": size,
        **more,
    }


def stat(title, description, query, unit, *, steps=((None, "green"),), size=(4, 4), mappings=(), **more):
    thresholds = {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}
    defaults = {"thresholds": thresholds, "color": {"mode": "thresholds"}, "mappings": list(mappings)}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
    }
    return panel(
        "stat",
        title,
        description,
        targets(query, instant=True),
        unit,
        size=size,
        defaults=defaults,
        options=options,
        **more,
    )


def series(title, description, queries, unit, *, size=(8, 8), stacked=False, bars=False, least=0, **more):
    custom = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if bars else 25 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["mean", "max"] if not bars else ["sum"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = {"custom": custom} if least is None else {"custom": custom, "min": least}
    return panel(
        "timeseries", title, description, targets(queries), unit, size=size, defaults=defaults, options=options, **more
    )


def gauges(title, description, queries, unit, *, size=(8, 8), **more):
    """A bar for each series, the present value or that of the whole time."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "color",
        "showUnfilled": True,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "auto",
        "sizing": "auto",
    }
    return panel(
        "bargauge",
        title,
        description,
        targets(queries, instant=True),
        unit,
        size=size,
        defaults={"min": 0, "color": {"mode": "continuous-BlPu"}},
        options=options,
        **more,
    )


def table(title, description, columns, *, size, order, names, units=(), **more):
    """One row for each set of labels; `columns` are the queries, merged. `names` says what fields are called, and by its
    order in which order they come; `order` is the field that sorts. What is not named is left out."""
    queries = targets(columns, instant=True, format="table")
    fields = ["Time", "__name__", "job", "instance", "alertstate", "Value", "Value #A"]
    fields = [field for field in fields if field not in names]
    organize = {
        "excludeByName": {field: True for field in fields},
        "renameByName": names,
        "indexByName": {field: n for n, field in enumerate(names)},
    }
    overrides = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, unit in units
    ]
    return panel(
        "table",
        title,
        description,
        queries,
        "short",
        size=size,
        overrides=overrides,
        defaults={"custom": {"align": "auto", "filterable": True, "cellOptions": {"type": "auto"}}},
        options={"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": order, "desc": True}]},
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}],
        **more,
    )


def states(title, description, query, *, size, mappings):
    options = {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults = {
        "mappings": mappings,
        "color": {"mode": "thresholds"},
        "custom": {"lineWidth": 0, "fillOpacity": 80},
        "thresholds": {"mode": "absolute", "steps": [{"value": None, "color": "orange"}]},
    }
    return panel(
        "state-timeline", title, description, targets(query), "short", size=size, defaults=defaults, options=options
    )


def heatmap(title, description, query, unit, *, size):
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "filterValues": {"le": 1e-9},
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
        },
        "yAxis": {"unit": unit, "axisPlacement": "left"},
        "rowsFrame": {"layout": "auto"},
        "legend": {"show": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "tooltip": {"mode": "single", "yHistogram": False},
    }
    return panel(
        "heatmap",
        title,
        description,
        targets((query, "{{le}}"), format="heatmap"),
        unit,
        size=size,
        options=options,
        defaults={"custom": {"scaleDistribution": {"type": "linear"}}},
    )


def value_mapping(**texts):
    return {
        "type": "value",
        "options": {
            key: {"text": text, "color": color, "index": n} for n, (key, (text, color)) in enumerate(texts.items())
        },
    }


def place(rows):
    """Gives panels their places: from left to right, and down when a line is full."""
    panels, y = [], 0
    for title, make in rows:
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            }
        )
        x, y, height = 0, y + 1, 0
        for made in make():
            width, tall = made.pop("size")
            if x + width > 24:
                x, y, height = 0, y + height, 0
            panels.append(made | {"gridPos": {"x": x, "y": y, "w": width, "h": tall}})
            x, height = x + width, max(height, tall)
        y += height
    return [{"id": n} | made for n, made in enumerate(panels, 1)]


def variable(name, label, query, **more):
    """A choice of several values, all of them at first."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"qryType": 1, "query": query, "refId": f"variable-{name}"},
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "options": [],
        "refresh": 2,
        "regex": "",
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
        **more,
    }
