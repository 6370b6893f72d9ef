"""How a report looks: readable on paper and screens, light and dark."""

CSS = """
:root { color-scheme: light dark; --back: #ffffff; --ink: #222222; --soft: #5a5a5a; --line: #d9d9d9; --band: #f4f4f4;
  --good: #17692b; --bad: #a52a2a; --mark: #2f5f8f; }
@media (prefers-color-scheme: dark) { :root { --back: #141414; --ink: #e6e6e6; --soft: #a8a8a8; --line: #3a3a3a;
  --band: #1f1f1f; --good: #7fd18f; --bad: #f09a9a; --mark: #9cc4ee; }
  figure svg { filter: invert(0.922) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { margin: 2.5rem 0 .6rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.8rem 0 .4rem; } a { color: var(--mark); } p.lead { color: var(--soft); margin: 0; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 1rem; }
li { margin: .25rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { padding: .18rem .7rem; text-align: right; white-space: nowrap; }
th[scope=row], th[scope=rowgroup] { text-align: left; font-weight: normal; }
thead th { border-bottom: 1px solid var(--line); }
tr.section th { font-weight: 600; background: var(--band); }
td.words { white-space: normal; text-align: left; }
small { font-size: .8em; color: var(--soft); } small.better { color: var(--good); } small.worse { color: var(--bad); }
thead th:first-child { text-align: left; }
figure { margin: 1.2rem 0; overflow-x: auto; } figure svg { width: 100%; min-width: 38rem; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; }
code, pre { font-size: .85rem; overflow-wrap: anywhere; white-space: pre-wrap; }
details { margin: .6rem 0; } summary { cursor: pointer; }
@media print { body { max-width: none; } .scroll, figure { overflow: visible; } h2 { break-after: avoid; }
  figure { break-inside: avoid; } }
""".strip()
