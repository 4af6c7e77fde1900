// The page of kept_map: its data, the text and the strip over it.
#pragma once

#include <string_view>

namespace winnow {

// A pick is {layer, head}, either of them null for all. Cells of the grid are the picks: row 0 and
// column 0 of it stand for all.
inline constexpr std::string_view kKeptMapScript = R"js(
'use strict';
const kept = JSON.parse(document.getElementById('kept').textContent);
const nHeads = kept.n_kv_heads * kept.group;
const nPieces = kept.pieces.length;
const byId = id => document.getElementById(id);
const number = n => n.toLocaleString('en-US');
const percent = (part, whole) => {
  const share = whole > 0 ? 100 * part / whole : 0;
  return (share > 0 && share < 0.1 ? '< 0.1' : share.toFixed(1)) + ' %';
};

// ---- The data ----

// First token of each piece, and one more: the end.
const firstToken = new Int32Array(nPieces + 1);
{
  const lengths = new Int32Array(nPieces).fill(1);
  for (let i = 0; i < kept.joined.length; i += 2) lengths[kept.joined[i]] = kept.joined[i + 1];
  for (let i = 0; i < nPieces; ++i) firstToken[i + 1] = firstToken[i] + lengths[i];
}

// Runs of each KV head: [begin, end, mask, ..].
const runsOf = kept.heads.map(coded => {
  const runs = new Float64Array(coded.length);
  let end = 0;
  for (let i = 0; i < coded.length; i += 3) {
    runs[i] = end + coded[i];
    end = runs[i + 1] = runs[i] + coded[i + 1];
    runs[i + 2] = coded[i + 2];
  }
  return runs;
});

const popcount = mask => {
  let n = 0;
  for (let bits = mask >>> 0; bits !== 0; bits &= bits - 1) ++n;
  return n;
};

// Calls visit(runs, bits) for each KV head of a pick; bits are the query heads that count.
function eachHead(pick, visit) {
  const group = kept.group;
  const last = kept.n_kv_heads - 1;
  const layers = pick.layer === null ? [0, kept.n_layers - 1] : [pick.layer, pick.layer];
  const only = pick.head === null ? null : Math.floor(pick.head / group);
  const bits = pick.head === null ? -1 >>> (32 - group) : (1 << (pick.head % group)) >>> 0;
  for (let l = layers[0]; l <= layers[1]; ++l) {
    for (let h = only ?? 0; h <= (only ?? last); ++h) visit(runsOf[l * kept.n_kv_heads + h], bits);
  }
}

const pairsOf = pick =>
  (pick.layer === null ? kept.n_layers : 1) * (pick.head === null ? nHeads : 1);

// How many of the pick's pairs of layer and query head see each token.
function countsOf(pick) {
  const counts = new Int32Array(kept.n_tokens + 1);
  eachHead(pick, (runs, bits) => {
    for (let i = 0; i < runs.length; i += 3) {
      const n = popcount(runs[i + 2] & bits);
      counts[runs[i]] += n;
      counts[runs[i + 1]] -= n;
    }
  });
  for (let i = 1; i <= kept.n_tokens; ++i) counts[i] += counts[i - 1];
  return counts;
}

// Tokens that the pick's pairs see, one by one.
function seenBy(pick) {
  let n = 0;
  eachHead(pick, (runs, bits) => {
    for (let i = 0; i < runs.length; i += 3) {
      n += popcount(runs[i + 2] & bits) * (runs[i + 1] - runs[i]);
    }
  });
  return n;
}

function sees(pick, token) {
  let found = false;
  eachHead(pick, (runs, bits) => {
    let low = 0;
    let high = runs.length / 3;  // the first run that ends after the token lies in [low, high]
    while (low < high) {
      const middle = (low + high) >> 1;
      if (runs[3 * middle + 1] > token) high = middle; else low = middle + 1;
    }
    const i = 3 * low;
    if (i < runs.length && runs[i] <= token && (runs[i + 2] & bits) !== 0) found = true;
  });
  return found;
}

function levelOf(count, pairs) {
  if (count <= 0) return 0;
  if (count >= pairs) return kept.level_percent.length + 2;
  return 1 + kept.level_percent.filter(p => count * 100 >= p * pairs).length;
}

const kAll = {layer: null, head: null};
const allCounts = countsOf(kAll);

function mostOf(counts, piece) {
  let most = 0;
  for (let t = firstToken[piece]; t < firstToken[piece + 1]; ++t) most = Math.max(most, counts[t]);
  return most;
}

// ---- The text, in blocks that the browser lays out only where they are seen ----

const kBlock = 250;  // pieces at least; then it ends with a line, or at a space
const text = byId('text');
const blocks = [];  // {element, first, stale}

function endsBlock(i, first) {
  const n = i + 1 - first;
  if (n < kBlock || i + 1 === nPieces) return false;
  return kept.pieces[i].endsWith('\n') || (n >= 6 * kBlock && kept.pieces[i + 1].startsWith(' '));
}

function buildText() {
  let block = null;
  for (let i = 0; i < nPieces; ++i) {
    if (block === null) {
      block = {element: document.createElement('div'), first: i, stale: false};
      block.element.block = block;
      blocks.push(block);
    }
    const span = document.createElement('span');
    span.textContent = kept.pieces[i];
    block.element.append(span);
    if (endsBlock(i, block.first)) block = null;
  }
  text.replaceChildren(...blocks.map(b => b.element));
}

function pieceOf(element) {
  const span = element.closest ? element.closest('#text span') : null;
  if (span === null) return null;
  const block = span.parentNode.block;
  return block.first + Array.prototype.indexOf.call(block.element.children, span);
}

function spanOf(piece) {
  let low = 0;
  let high = blocks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (blocks[middle].first <= piece) low = middle; else high = middle - 1;
  }
  return blocks[low].element.children[piece - blocks[low].first];
}

let shown = {pick: kAll, counts: allCounts, pairs: pairsOf(kAll)};

function paint(block) {
  let piece = block.first;
  for (const span of block.element.children) {
    span.className = 'k' + levelOf(mostOf(shown.counts, piece++), shown.pairs);
  }
  block.stale = false;
}

const seen = new Set();  // blocks in sight
const sight = new IntersectionObserver(entries => {
  for (const entry of entries) {
    const block = entry.target.block;
    if (entry.isIntersecting) seen.add(block); else seen.delete(block);
    if (entry.isIntersecting && block.stale) paint(block);
  }
}, {rootMargin: '400px'});

function show(pick) {
  shown = {pick, counts: countsOf(pick), pairs: pairsOf(pick)};
  for (const block of blocks) block.stale = true;
  for (const block of seen) paint(block);
  drawStrip();
  byId('status').textContent = describe(pick);
}

function describe(pick) {
  const layer = pick.layer === null ? 'all layers' : 'layer ' + pick.layer;
  const head = pick.head === null ? 'all query heads' : 'query head ' + pick.head +
    (kept.group > 1 ? ' (of KV head ' + Math.floor(pick.head / kept.group) + ')' : '');
  const n = seenBy(pick);
  const pairs = pairsOf(pick);
  const words = pairs === 1 ? 'sees ' + number(n)
    : 'see ' + number(Math.round(n / Math.max(pairs, 1))) + ' each on average';
  const start = layer[0].toUpperCase() + layer.slice(1);
  return `${start}, ${head}: ${words}, ` +
    `${percent(n, pairs * kept.n_tokens)} of ${number(kept.n_tokens)} tokens.`;
}

// ---- The strip: the whole text from left to right. The height of a bar is the root of the highest
// share of a token there, so that small ones show ----

function drawStrip() {
  const canvas = byId('strip');
  const scale = window.devicePixelRatio || 1;
  const width = canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
  const style = getComputedStyle(document.documentElement);
  const colors = Array.from({length: 8}, (_, i) => style.getPropertyValue('--k' + i));
  const context = canvas.getContext('2d');
  for (let x = 0; x < width; ++x) {
    const begin = Math.floor(x * kept.n_tokens / width);
    const end = Math.max(begin + 1, Math.floor((x + 1) * kept.n_tokens / width));
    let most = 0;
    for (let t = begin; t < end; ++t) most = Math.max(most, shown.counts[t]);
    if (most === 0) continue;
    const bar = Math.max(2 * scale, Math.sqrt(most / shown.pairs) * height);
    context.fillStyle = colors[Math.max(4, levelOf(most, shown.pairs))];
    context.fillRect(x, height - bar, 1, bar);
  }
}

function jumpTo(share) {
  const token = Math.min(kept.n_tokens - 1, Math.floor(share * kept.n_tokens));
  let low = 0;
  let high = nPieces - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (firstToken[middle] <= token) low = middle; else high = middle - 1;
  }
  if (nPieces > 0) spanOf(low).scrollIntoView({block: 'center'});
}
)js";

}  // namespace winnow
