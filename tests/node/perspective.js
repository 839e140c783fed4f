// Calls a server with two unmodified clients and prints what they got, as JSON:
//     node perspective.js http://127.0.0.1:8000
import { createRequire } from 'node:module';
import { Discovery } from 'googleapis-common';
import Perspective from 'perspective-api-client';

const [host] = process.argv.slice(2);
const text = 'Good 😀 morning! What a pathetic idiot you are. 👍🏽 Bye';

// The address is written into perspective-api-client, so the HTTP library that it uses is told another one.
const axios = createRequire(createRequire(import.meta.url).resolve('perspective-api-client'))('axios');
axios.interceptors.request.use((request) => ({
  ...request,
  url: request.url.replace('https://commentanalyzer.googleapis.com', host),
}));

const perspective = new Perspective({ apiKey: 'any' });
const refused = async (promise) => promise.then(() => null, (error) => error.message);

const create = await new Discovery({}).discoverAPI(`${host}/$discovery/rest?version=v1alpha1`);
const google = create({ version: 'v1alpha1' });
const comment = { text };
const analyzed = await google.comments.analyze({
  key: 'any',
  requestBody: { comment, requestedAttributes: { TOXICITY: {} }, spanAnnotations: true, clientToken: 'a' },
});
const suggested = await google.comments.suggestscore({
  key: 'any',
  requestBody: { comment, attributeScores: { TOXICITY: { summaryScore: { value: 1 } } }, clientToken: 'b' },
});

console.log(
  JSON.stringify({
    simple: await perspective.analyze('You are a <b>pathetic</b> idiot.', { attributes: ['toxicity', 'insult'] }),
    object: await perspective.analyze({ comment, requestedAttributes: { TOXICITY: {} }, languages: ['en'] }),
    unknown: await refused(perspective.analyze('hi', { attributes: ['flirtation'] })),
    foreign: await refused(perspective.analyze('Das war sehr hilfreich, danke euch allen.')),
    analyzed: analyzed.data,
    sentences: analyzed.data.attributeScores.TOXICITY.spanScores.map((span) => text.slice(span.begin, span.end)),
    suggested: suggested.data,
  }),
);
