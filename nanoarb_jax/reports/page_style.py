"""How a page looks: wide and narrow, light and dark, on a screen and printed."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #FFFFFF; --raised: #F6F8FA; --text: #1F2328; --quiet: #59636E; --line: #D1D9E0; --link: #005A8E;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0D1117; --raised: #151B23; --text: #E6EDF3; --quiet: #9DA7B3; --line: #3D444D; --link: #6CC0F0;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1.5rem clamp(.8rem, 3vw, 2rem) 4rem; background: var(--ground);
  color: var(--text); font: 1rem/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: break-word;
}
h1 { font-size: clamp(1.4rem, 4vw, 2rem); line-height: 1.25; margin: 0 0 .8rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .5rem; }
p { max-width: 75ch; margin: .6rem 0; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
.verdict {
  font-size: 1.12rem; max-width: none; padding: .8rem 1rem; background: var(--raised);
  border-left: 4px solid var(--link); border-radius: 0 6px 6px 0;
}
nav ul { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; list-style: none; margin: 1rem 0 0; padding: 0; }
nav a { display: inline-block; padding: .2rem 0; }
.scroll { overflow-x: auto; margin: .8rem 0 1.2rem; }
table { min-width: min(100%, 26rem); border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--quiet); padding: 0 0 .4rem; }
caption span { display: inline-block; position: sticky; left: 0; max-width: calc(100vw - 3rem); }
.tables { columns: 2 30rem; column-gap: 3rem; }
.tables .scroll { break-inside: avoid; margin-top: 0; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
td.words { max-width: 46rem; overflow-wrap: anywhere; }
pre {
  white-space: pre-wrap; overflow-wrap: anywhere; padding: .8rem 1rem; margin: .8rem 0;
  background: var(--raised); border: 1px solid var(--line);
  border-radius: 6px; font: .88rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace;
}
pre span { display: inline-block; max-width: 100%; }
figure { margin: 1rem 0 1.4rem; }
figcaption { color: var(--quiet); font-size: .92rem; max-width: 80ch; }
.chart { width: 100%; min-height: 200px; overflow: hidden; }
details { margin: .4rem 0 0; }
summary { cursor: pointer; color: var(--link); font-size: .92rem; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .9rem; }
@media print {
  :root { --ground: #FFFFFF; --raised: #F6F8FA; --text: #000000; --quiet: #444444; --line: #BBBBBB; --link: #000000; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip, summary, .modebar-container { display: none !important; }
  figure, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  details { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding-right: .5rem; }
  .short, .number { white-space: normal; }
  a { text-decoration: none; }
}
"""
