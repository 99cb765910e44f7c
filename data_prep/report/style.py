"""The page's style sheet."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2.5rem auto;
  padding: 0 1.2rem; color: #1f2937; background: #fff; }
h1 { margin: 0; font-size: 1.9rem; } h2 { margin: 2.4rem 0 .6rem; font-size: 1.2rem; }
h2 small { color: #6b7280; font-weight: 400; }
.lead, .note { color: #6b7280; margin: .2rem 0 1rem; }
.cards { display: flex; gap: 1rem; } .card { flex: 1; padding: .9rem 1.1rem; border-radius: 10px;
  background: #f5f7fa; border-left: 5px solid; } .card b { display: block; font-size: 1.8rem; }
.card i { float: right; font-style: normal; color: #6b7280; }
.card.kept { border-color: #2563eb; } .card.filtered { border-color: #d97706; }
.card.failed { border-color: #dc2626; }
.bar { display: flex; height: 10px; border-radius: 5px; overflow: hidden; margin: 1rem 0 1.4rem; }
.bar .kept { background: #2563eb; } .bar .filtered { background: #d97706; }
.bar .failed { background: #dc2626; }
table { border-collapse: collapse; min-width: 50%; } th { color: #6b7280; font-weight: 500; }
td, th { padding: .3rem 1.4rem .3rem 0; border-bottom: 1px solid #e5e7eb; text-align: left; }
.charts { display: grid; grid-template-columns: repeat(3, 1fr); gap: 1rem; }
.charts svg { width: 100%; background: #f9fafb; border-radius: 8px; font: 11px system-ui; }
.dot, .dash { display: inline-block; width: .8em; height: .8em; border-radius: 2px;
  margin-left: 1em; } .dot.all { background: #d4d9e2; } .dot.some { background: #2563eb; }
.dash { height: 0; width: 1.4em; border-top: 2px dashed #dc2626; vertical-align: middle; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 1rem; }
figure { margin: 0; font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; }
figure img, .none { width: 100%; aspect-ratio: 4/3; object-fit: cover; border-radius: 6px;
  background: #eef1f5; display: block; margin-bottom: .3rem; }
.none { display: grid; place-items: center; color: #9aa3b2; }
figcaption span { color: #6b7280; }
@media (max-width: 800px) { .charts { grid-template-columns: 1fr; } }
"""
