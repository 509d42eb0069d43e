// The part of GitHub's OpenAPI description that some requests need, and what it knows of each request and its answer.
//
//   node subset.cjs requests.json subset.json  <  nothing
//
// `requests.json`: {requests: [{method, path, status, answer}], read: [names]}, the path with its query, the answer parsed
// (absent: it is no JSON), the names those of fields that gatelog reads in answers. Writes the part to `subset.json` (the
// whole takes Prism 40 s to load) and prints {requests: [{method, path, template, unknown: [names of query parameters]}],
// lost: [those of no operation], wrong: [what is wrong with an answer], answers: how many were compared}.
'use strict';
const fs = require('fs');
const { Description } = require('../described.cjs');
const [asked, out] = process.argv.slice(2);
const whole = require('@octokit/openapi/generated/api.github.com.json');
const at = (ref) => ref.slice(2).split('/').reduce((v, k) => v[k.replace(/~1/g, '/').replace(/~0/g, '~')], whole);
// Written out here where other operations refer: with an older list of permissions, and an account that is a user and
// an enterprise at once (`allOf` for `anyOf`).
whole.paths['/app/installations'].get.responses['200'].content['application/json'].schema.items = { $ref: '#/components/schemas/installation' };
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
const answer = { requests: [], lost: [], wrong: [], answers: 0 };
const { requests, read } = JSON.parse(fs.readFileSync(asked));
const description = new Description(whole, read);
const checks = new Map();
for (const { method, path, status, answer: body } of requests) {
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
  const operation = whole.paths[found.template][method.toLowerCase()];
  operations[method.toLowerCase()] = operation;
  const name = `${method} ${found.template} ${status}`;
  const response = resolved(operation.responses[status]);
  const schema = response?.content?.['application/json']?.schema;
  if (!response) answer.wrong.push(`${name}: GitHub describes no such status`);
  else if (schema && body !== undefined) {
    if (!checks.has(name)) checks.set(name, { answers: [], valid: description.validator(schema) });
    checks.get(name).answers.push(body);
  }
}
for (const [name, { answers, valid }] of checks) {
  answer.answers += 1;
  for (const line of new Set(answers.flatMap(valid))) answer.wrong.push(`${name}: ${line}`);
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
