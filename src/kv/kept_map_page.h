// The page of kept_map: its style and its skeleton.
#pragma once

#include <string_view>

namespace winnow {

// The policy allows no address at all: the page can load and send nothing.
inline constexpr std::string_view kKeptMapHead = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>winnow: what was kept</title>
<style>
:root {
  --ground: #fffdf8; --panel: #f7f3e9; --line: #e2dac8; --ink: #28241c; --faint: #6f695d;
  --accent: #1d5fa8; --cell: 176 98 8;
  --k0: #757066;
  --k1: #fdf3d3; --k2: #fbe7a8; --k3: #f7d472; --k4: #efb93c; --k5: #dd951c; --k6: #ad640a;
  --k7: #743b00;
  --low-ink: #28241c; --high-ink: #fffaf0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #16140f; --panel: #1f1c15; --line: #38332a; --ink: #ece5d6; --faint: #9d9585;
    --accent: #7db4f0; --cell: 244 184 58;
    --k0: #8a8373;
    --k1: #2f2613; --k2: #443411; --k3: #604810; --k4: #86640f; --k5: #b48618; --k6: #dbab2d;
    --k7: #ffdc73;
    --low-ink: #fbf4e2; --high-ink: #1c1608;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
header { padding: 1rem 1.5rem .75rem; border-bottom: 1px solid var(--line); }
h1 { font-size: 1.15rem; margin: 0 0 .5rem; }
dl { display: flex; flex-wrap: wrap; gap: .25rem 2rem; margin: 0; }
dt { font-size: .72rem; letter-spacing: .04em; text-transform: uppercase; color: var(--faint); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
main { display: flex; align-items: flex-start; }
#side { flex: none; max-width: 46vw; max-height: 100vh; overflow: auto; position: sticky; top: 0;
  padding: 1rem 1rem 1rem 1.5rem; background: var(--panel); border-right: 1px solid var(--line);
  align-self: stretch; }
h2 { font-size: .8rem; font-weight: 600; margin: 0 0 .5rem; }
#grid { border-collapse: separate; border-spacing: 1px; outline: none; user-select: none; }
#grid th, #grid td { padding: 0; height: var(--size); min-width: var(--size); border-radius: 2px;
  cursor: pointer; font: 10px/1 system-ui, sans-serif; color: var(--faint); text-align: center; }
#grid th { padding: 0 3px; font-variant-numeric: tabular-nums; }
#grid th:first-child { text-align: right; }
#grid .corner { color: var(--ink); font-weight: 600; }
#grid .opens { border-left: 3px solid transparent; background-clip: padding-box;
  min-width: calc(var(--size) + 3px); }
#grid .sees { box-shadow: inset 0 0 0 2px var(--ink); }
#grid .hover { outline: 1px solid var(--ink); outline-offset: 0; }
#grid .picked { outline: 2px solid var(--accent); outline-offset: 0; }
#grid:focus-visible .picked { outline-width: 3px; }
#grid:focus-visible { box-shadow: 0 0 0 2px var(--accent); border-radius: 4px; }
#status, #hint { max-width: 24rem; margin: .75rem 0 0; font-size: .85rem; min-height: 3em; }
#hint { color: var(--faint); min-height: 0; }
kbd { font: inherit; border: 1px solid var(--line); border-radius: 3px; padding: 0 .3em; }
#reading { flex: 1; min-width: 0; padding: 0 1.5rem 4rem; }
#over { position: sticky; top: 0; z-index: 1; padding: 1rem 0 .75rem; background: var(--ground); }
#legend { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem; font-size: .8rem;
  color: var(--faint); }
#legend span { padding: 0 .45em; border-radius: 3px; }
#strip { display: block; width: 100%; height: 44px; margin: .6rem 0 0; cursor: pointer;
  border-bottom: 1px solid var(--line); }
#text { max-width: 88ch; overflow-wrap: anywhere; white-space: pre-wrap;
  font: 15px/1.75 ui-serif, Georgia, "Noto Serif", "DejaVu Serif", serif; }
#text div { content-visibility: auto; contain-intrinsic-size: auto 30rem; }
#text span { border-radius: 2px; }
#text [data-found] { outline: 2px solid var(--accent); }
.k0 { color: var(--k0); }
.k1 { background: var(--k1); color: var(--low-ink); }
.k2 { background: var(--k2); color: var(--low-ink); }
.k3 { background: var(--k3); color: var(--low-ink); }
.k4 { background: var(--k4); color: var(--low-ink); }
.k5 { background: var(--k5); color: #1c1608; }
.k6 { background: var(--k6); color: var(--high-ink); }
.k7 { background: var(--k7); color: var(--high-ink); }
#tip { position: fixed; z-index: 2; max-width: 24rem; padding: .4rem .6rem; border-radius: 4px;
  background: var(--ink); color: var(--ground); font-size: .8rem; pointer-events: none;
  white-space: pre-line; overflow-wrap: anywhere; }
@media (max-width: 52rem) {
  main { display: block; }
  #side { max-width: none; max-height: 60vh; position: static; border-right: 0;
    border-bottom: 1px solid var(--line); }
}
</style>
</head>
)html";

inline constexpr std::string_view kKeptMapBody = R"html(<body>
<header>
<h1>What was kept of the KV cache</h1>
<dl id="numbers"></dl>
</header>
<main>
<section id="side">
<h2 id="grid-name">Layers (down) and query heads (across)</h2>
<table id="grid" role="grid" tabindex="0" aria-labelledby="grid-name"></table>
<p id="status" role="status"></p>
<p id="hint">The stronger a cell's colour, the more tokens its head sees. Point at one to shade
the text by it, click to keep it; the edges stand for whole rows and columns. <kbd>←</kbd>
<kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd> move the pick, <kbd>Esc</kbd> goes back to all. Click a
token to outline the heads that see it.</p>
</section>
<section id="reading">
<div id="over">
<div id="legend"></div>
<canvas id="strip" role="img" aria-label="Share of query heads along the text"></canvas>
</div>
<div id="text" lang="" translate="no"></div>
</section>
</main>
<div id="tip" role="tooltip" hidden></div>
<noscript>This page needs JavaScript.</noscript>
)html";

}  // namespace winnow
