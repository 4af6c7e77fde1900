// The page of kept_map: the grid, the pointer and the keys, and how it starts. Goes on where
// kept_map_script.h ends.
#pragma once

#include <string_view>

namespace winnow {

inline constexpr std::string_view kKeptMapControls = R"js(
// ---- The grid ----

const grid = byId('grid');
const cellAt = (row, column) => grid.rows[row].cells[column];
const pickOf = cell => ({
  layer: cell.parentNode.rowIndex === 0 ? null : cell.parentNode.rowIndex - 1,
  head: cell.cellIndex === 0 ? null : cell.cellIndex - 1,
});

function nameOf(pick) {
  if (pick.layer === null && pick.head === null) return 'all';
  if (pick.layer === null) return nHeads > 16 && pick.head % 4 !== 0 ? '' : String(pick.head);
  return pick.head === null ? String(pick.layer) : '';
}

function buildGrid() {
  const size = nHeads > 40 ? 10 : nHeads > 20 ? 14 : nHeads > 10 ? 20 : 26;
  grid.style.setProperty('--size', size + 'px');
  for (let row = 0; row <= kept.n_layers; ++row) {
    const line = grid.insertRow();
    for (let column = 0; column <= nHeads; ++column) {
      const cell = document.createElement(row === 0 || column === 0 ? 'th' : 'td');
      cell.id = `cell-${row}-${column}`;
      line.append(cell);
      const pick = pickOf(cell);
      cell.textContent = nameOf(pick);
      cell.setAttribute('aria-label', describe(pick));
      if (column > 0 && (column - 1) % kept.group === 0) cell.classList.add('opens');
    }
  }
  cellAt(0, 0).classList.add('corner');
  colorGrid();
}

// From the least to the most that one head sees.
function colorGrid() {
  const cells = [...grid.querySelectorAll('td')];
  const counts = cells.map(cell => seenBy(pickOf(cell)));
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  cells.forEach((cell, i) => {
    const strength = counts[i] === 0 ? 0.06 : 0.2 + 0.8 * counts[i] / most;
    cell.style.backgroundColor = `rgb(var(--cell) / ${strength.toFixed(3)})`;
  });
}

let picked = null;   // the cell that stays
let pointed = null;  // the cell under the pointer

function showCell() {
  show(pickOf(pointed ?? picked));
}

function setPicked(cell) {
  if (picked !== null) {
    picked.classList.remove('picked');
    picked.removeAttribute('aria-selected');
  }
  picked = cell;
  picked.classList.add('picked');
  picked.setAttribute('aria-selected', 'true');
  grid.setAttribute('aria-activedescendant', picked.id);
  picked.scrollIntoView({block: 'nearest', inline: 'nearest'});
  const {layer, head} = pickOf(cell);
  const hash = layer === null && head === null ? '#' : `#${layer ?? 'all'},${head ?? 'all'}`;
  history.replaceState(null, '', hash);  // an address that opens the page with this pick
  setPointed(null);
  showCell();
}

function setPointed(cell) {
  if (pointed !== null) pointed.classList.remove('hover');
  pointed = cell;
  if (pointed !== null) pointed.classList.add('hover');
}

function cellOfHash() {
  const parts = /^#(all|\d+),(all|\d+)$/.exec(location.hash);
  if (parts === null) return cellAt(0, 0);
  const index = (part, n) => part === 'all' ? 0 : Math.min(Number(part), n - 1) + 1;
  return cellAt(index(parts[1], kept.n_layers), index(parts[2], nHeads));
}

grid.addEventListener('pointerover', event => {
  const cell = event.target.closest('td, th');
  if (cell === null || cell === pointed || event.pointerType === 'touch') return;
  setPointed(cell);
  showCell();
});
grid.addEventListener('pointerleave', () => {
  if (pointed === null) return;
  setPointed(null);
  showCell();
});
grid.addEventListener('click', event => {
  const cell = event.target.closest('td, th');
  if (cell !== null) setPicked(cell);
});
grid.addEventListener('keydown', event => {
  const moves = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
  let row = picked.parentNode.rowIndex;
  let column = picked.cellIndex;
  if (event.key in moves) {
    row = Math.min(Math.max(row + moves[event.key][0], 0), kept.n_layers);
    column = Math.min(Math.max(column + moves[event.key][1], 0), nHeads);
  } else if (event.key === 'Home') {
    column = 0;
  } else if (event.key === 'End') {
    column = nHeads;
  } else {
    return;
  }
  event.preventDefault();
  setPicked(cellAt(row, column));
});

// ---- Tokens ----

const tip = byId('tip');

function showTip(piece, event) {
  const first = firstToken[piece];
  const last = firstToken[piece + 1] - 1;
  const lines = [(first === last ? 'token ' + number(first) : `tokens ${number(first)} to ` +
    number(last)) + '  “' + kept.pieces[piece].trimEnd() + '”'];
  const line = (counts, pairs, of) =>
    `seen by ${number(mostOf(counts, piece))} of ${number(pairs)} query heads${of}, ` +
    percent(mostOf(counts, piece), pairs);
  lines.push(line(allCounts, pairsOf(kAll), ' in all layers'));
  if (shown.pairs < pairsOf(kAll)) lines.push(line(shown.counts, shown.pairs, ' picked'));
  tip.textContent = lines.join('\n');
  tip.hidden = false;
  const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18;
  const above = event.clientY - tip.offsetHeight - 12;
  tip.style.left = Math.max(left, 8) + 'px';
  tip.style.top = (below + tip.offsetHeight < window.innerHeight ? below : above) + 'px';
}

// The span is marked by an attribute, because shading it sets its class.
function outlineHeads(piece) {
  for (const cell of grid.querySelectorAll('.sees')) cell.classList.remove('sees');
  for (const span of text.querySelectorAll('[data-found]')) span.removeAttribute('data-found');
  if (piece === null) return;
  for (const cell of grid.querySelectorAll('td')) {
    const pick = pickOf(cell);
    for (let t = firstToken[piece]; t < firstToken[piece + 1]; ++t) {
      if (sees(pick, t)) cell.classList.add('sees');
    }
  }
  spanOf(piece).setAttribute('data-found', '');
}

text.addEventListener('pointermove', event => {
  const piece = pieceOf(event.target);
  if (piece === null) tip.hidden = true; else showTip(piece, event);
});
text.addEventListener('pointerleave', () => { tip.hidden = true; });
text.addEventListener('click', event => outlineHeads(pieceOf(event.target)));
byId('strip').addEventListener('click', event => {
  jumpTo(event.offsetX / event.currentTarget.clientWidth);
});
document.addEventListener('keydown', event => {
  if (event.key !== 'Escape') return;
  tip.hidden = true;
  outlineHeads(null);
  setPicked(cellAt(0, 0));
});

// ---- The rest of the page ----

function buildNumbers() {
  const rows = runsOf.reduce((sum, runs) => {
    for (let i = 0; i < runs.length; i += 3) sum += runs[i + 1] - runs[i];
    return sum;
  }, 0);
  const full = kept.n_tokens * runsOf.length;
  const pairs = pairsOf(kAll);
  let all = 0;
  let none = 0;
  for (let t = 0; t < kept.n_tokens; ++t) {
    if (allCounts[t] === 0) ++none; else if (allCounts[t] === pairs) ++all;
  }
  const entries = {
    'policy': kept.policy,
    'budget': kept.budget === null ? 'none' : number(kept.budget) + ' rows a KV head',
    'text': number(kept.n_tokens) + ' tokens',
    'heads': `${kept.n_layers} layers of ${nHeads} query heads, ${kept.n_kv_heads} KV heads`,
    'rows kept': `${number(rows)} of ${number(full)}, ${percent(rows, full)}`,
    'tokens seen': `by all heads ${number(all)}, by some ` +
      `${number(kept.n_tokens - all - none)}, by none ${number(none)}`,
  };
  for (const [name, value] of Object.entries(entries)) {
    const entry = document.createElement('div');
    entry.append(document.createElement('dt'), document.createElement('dd'));
    entry.firstChild.textContent = name;
    entry.lastChild.textContent = value;
    byId('numbers').append(entry);
  }
}

function buildLegend() {
  const percents = kept.level_percent;
  const names = ['none', ...percents.map(p => `< ${p} %`), `≥ ${percents.at(-1)} %`, 'all'];
  byId('legend').append('Seen by:', ...names.map((name, level) => {
    const sample = document.createElement('span');
    sample.className = 'k' + level;
    sample.textContent = name;
    return sample;
  }));
}

buildNumbers();
buildLegend();
buildText();
buildGrid();
for (const block of blocks) sight.observe(block.element);
setPicked(cellOfHash());
for (const block of blocks) paint(block);
window.addEventListener('resize', drawStrip);
window.addEventListener('hashchange', () => setPicked(cellOfHash()));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawStrip);
)js";

}  // namespace winnow
