"""What a page does in the browser: it draws its charts in the colours of the scheme and for the width of the screen."""

from __future__ import annotations

# Reads `schemes` (see `charts.palette.schemes`) and one JSON element per chart; nothing else, and nothing from outside.
SCRIPT = """
(() => {
  "use strict";
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const schemes = read("schemes");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const coarse = matchMedia("(pointer: coarse)");
  const charts = [...document.querySelectorAll(".chart")];
  let printing = false;
  // Named one by one: Plotly's own choice has one that sends the chart to its maker's server.
  const buttons = [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]];

  // The figure with its colours exchanged for those of the dark scheme: strings below keys that name a colour.
  const exchanged = (value, inColour) => {
    if (typeof value === "string") return inColour && schemes.dark[value] || value;
    if (Array.isArray(value)) return value.map(one => exchanged(one, inColour));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(
      ([key, one]) => [key, exchanged(one, /color(scale)?$/i.test(key))]));
  };

  const fitted = layout => {
    if (!narrow.matches) return layout;
    layout.margin = {...layout.margin, l: 44, r: 6};
    layout.font = {size: 11};
    return layout;
  };

  const fittedTraces = traces => {
    for (const trace of narrow.matches ? traces : []) {
      if (trace.colorbar) trace.showscale = false;  // the figures stand in the fields
      if (trace.marker && trace.marker.size) trace.marker.size *= .75;
    }
    return traces;
  };

  const draw = chart => {
    const useDark = dark.matches && !printing;
    let {data, layout} = read(chart.dataset.figure);
    if (useDark) [data, layout] = [exchanged(data), exchanged(layout)];
    layout.template = schemes.templates[useDark ? "dark" : "light"];
    if (coarse.matches) layout.dragmode = false;  // a finger scrolls the page
    const config = {responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: buttons};
    return Plotly.react(chart, fittedTraces(data), fitted(layout), config);
  };
  const drawAll = () => Promise.all(charts.map(draw));

  // Keys on a chart that has the focus: + and - zoom in time, arrows move, 0 shows everything again.
  const moves = {"+": [.25, -.25], "=": [.25, -.25], "-": [-.5, .5], ArrowLeft: [-.2, -.2], ArrowRight: [.2, .2]};
  const onKey = event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const chart = event.currentTarget, axis = chart._fullLayout && chart._fullLayout.xaxis;
    if (!axis || axis.type === "category") return;
    if (event.key === "0") Plotly.relayout(chart, {"xaxis.autorange": true});
    else if (moves[event.key]) {
      const [from, to] = axis.range.map(axis.r2l), [a, b] = moves[event.key];
      const range = [from + a * (to - from), to + b * (to - from)].map(axis.l2r);
      Plotly.relayout(chart, {"xaxis.range": range});
    } else return;
    event.preventDefault();
  };

  for (const chart of charts) chart.addEventListener("keydown", onKey);
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => { printing = true; drawAll(); });
  addEventListener("afterprint", () => { printing = false; drawAll(); });
  drawAll().then(() => { document.documentElement.dataset.drawn = charts.length; });
})();
"""
