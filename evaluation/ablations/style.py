"""How the page looks: one column, light or dark as the reader's system is."""

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d8dee4;
--back: #ffffff; --panel: #f6f8fa; --good: #1a7f37; --bad: #cf222e; --none: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa4af; --line: #343b44;
--back: #0d1117; --panel: #161b22; --good: #3fb950; --bad: #f85149; --none: #d29922; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
max-width: 1160px; margin: 1.5rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; } h3 { margin-bottom: .3rem; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; padding-bottom: .2rem;
border-bottom: 1px solid var(--line); }
small, .note, figcaption { color: var(--soft); } .note { font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem;
overflow-wrap: normal; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top;
border-bottom: 1px solid var(--line); }
td:not(.text) { white-space: nowrap; } th { vertical-align: bottom; }
th.text, td.text { text-align: left; } tr.first td { border-top: 2px solid var(--line); }
.wide { overflow-x: auto; } .wide td.text:first-child { min-width: 9rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.pair .wide { max-width: 100%; }
.verdict { white-space: nowrap; font-weight: 600; color: var(--soft); }
.verdict.reproduced { color: var(--good); } .verdict.contradicted { color: var(--bad); }
.verdict.not-reproduced { color: var(--none); }
.goal { padding: .6rem .9rem; background: var(--panel); border-left: 4px solid var(--soft); }
.goal.good { border-color: var(--good); } .goal.bad { border-color: var(--none); }
.charts { display: grid; gap: 1rem 1.6rem;
grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); align-items: start; }
figure { margin: 0; min-width: 0; }
svg { width: 100%; max-width: 560px; height: auto; display: block; }
img { max-width: 100%; image-rendering: pixelated; display: block; } img.pixels { width: 100%; }
.clips { display: flex; gap: .6rem; max-width: 640px; }
.clips img { flex: 1; min-width: 0; width: 100%; align-self: flex-start; }
.rows { display: grid; grid-auto-rows: 1fr; width: 7.5rem; flex: none; text-align: right;
font-size: .85rem; line-height: 1.15; } .rows span { align-self: center; }
.strip { max-width: 860px; } summary { cursor: pointer; font-weight: 600; }
code { background: var(--panel); padding: 0 .25rem; }
@media (max-width: 560px) { .rows { width: 4.6rem; font-size: .68rem; } }
"""
