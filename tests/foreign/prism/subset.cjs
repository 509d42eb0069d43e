// The part of GitHub's OpenAPI description that some requests need, and what it knows of each request.
//
//   node subset.cjs requests.json subset.json  <  nothing
//
// `requests.json`: [{method, path}], the path with its query. Writes the part to `subset.json` (the whole takes Prism 40 s
// to load) and prints {requests: [{method, path, template, unknown: [names of query parameters]}], lost: [those of no operation]}.
'use strict';
const fs = require('fs');
const [asked, out] = process.argv.slice(2);
const whole = require('@octokit/openapi/generated/api.github.com.json');
const at = (ref) => ref.slice(2).split('/').reduce((v, k) => v[k.replace(/~1/g, '/').replace(/~0/g, '~')], whole);
const resolved = (v) => (v && v.$ref ? at(v.$ref) : v);

// These parameters hold slashes, which a description cannot say: what follows is one segment here.
const RAGGED = ['/repos/{owner}/{repo}/contents/{path}', '/repos/{owner}/{repo}/git/matching-refs/{ref}'];
const segments = (path) => path.split('/').slice(1);
const isName = (s) => s.startsWith('{');

function matched(method, path) {
  const own = segments(path);
  let best;
  for (const [template, operations] of Object.entries(whole.paths)) {
    if (!operations[method.toLowerCase()]) continue;
    const theirs = segments(template);
    let mine = own;
    if (RAGGED.includes(template) && own.length > theirs.length) {
      mine = [...own.slice(0, theirs.length - 1), own.slice(theirs.length - 1).join('%2F')];
    }
    if (mine.length !== theirs.length || !theirs.every((t, i) => isName(t) || t === mine[i])) continue;
    const names = theirs.filter(isName).length;
    if (!best || names < best.names) best = { template, names, path: '/' + mine.join('/') };
  }
  return best;
}

function parameters(template, method) {
  const shared = whole.paths[template].parameters || [];
  const own = whole.paths[template][method.toLowerCase()].parameters || [];
  return [...shared, ...own].map(resolved).filter((p) => p.in === 'query').map((p) => p.name);
}

const paths = {};
const answer = { requests: [], lost: [] };
for (const { method, path } of JSON.parse(fs.readFileSync(asked))) {
  const [bare, query] = path.split('?');
  const found = matched(method, bare);
  if (!found) {
    answer.lost.push(`${method} ${path}`);
    continue;
  }
  const known = parameters(found.template, method);
  const unknown = [...new URLSearchParams(query || '').keys()].filter((name) => !known.includes(name));
  answer.requests.push({ method, path: found.path + (query ? `?${query}` : ''), template: found.template, unknown });
  const operations = (paths[found.template] ||= { parameters: whole.paths[found.template].parameters || [] });
  operations[method.toLowerCase()] = whole.paths[found.template][method.toLowerCase()];
}

// Whatever they refer to, and whatever that refers to.
const components = {};
const seen = new Set();
const walk = (value) => {
  if (Array.isArray(value)) return value.forEach(walk);
  if (!value || typeof value !== 'object') return;
  if (typeof value.$ref === 'string' && !seen.has(value.$ref)) {
    seen.add(value.$ref);
    const [, , kind, name] = value.$ref.split('/');
    (components[kind] ||= {})[name] = whole.components[kind][name];
    walk(components[kind][name]);
  }
  Object.values(value).forEach(walk);
};
walk(paths);
fs.writeFileSync(out, JSON.stringify({ openapi: whole.openapi, info: whole.info, paths, components }));
console.log(JSON.stringify(answer));
