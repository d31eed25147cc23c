// The cases of the AI SDK. Each prints a line of JSON: its name, and null or what went wrong.
import assert from 'node:assert/strict';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: name } = process.env;
const levada = createOpenAICompatible({
  name: 'levada', baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true,
});
const model = levada(name);
const prompt = 'The water of the levada runs down to field 7.';
const field = tool({
  description: 'What grows on a field.',
  inputSchema: z.object({ number: z.number().int() }),
  execute: async ({ number }) => `maize grows on field ${number}`,
});
const tools = { field };

const cases = {
  async chat() {
    const { text, finishReason, usage } = await generateText({ model, prompt, maxRetries: 0 });
    assert.equal(text, prompt);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
  },
  async stream() {
    const result = streamText({ model, prompt, maxRetries: 0 });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(''), prompt);
    assert.equal(await result.finishReason, 'stop');
    assert.ok((await result.usage).outputTokens > 0);
  },
  async tools() {
    const stopWhen = stepCountIs(2);
    const { text, steps } = await generateText({ model, prompt, tools, stopWhen, maxRetries: 0 });
    assert.equal(steps.length, 2);
    assert.deepEqual(steps[0].toolCalls[0].input, { number: 7 });
    assert.match(text, /maize grows on field 7/);
  },
  async streamed_tools() {
    const result = streamText({ model, prompt, tools, stopWhen: stepCountIs(2), maxRetries: 0 });
    assert.match(await result.text, /maize grows on field 7/);
    assert.deepEqual((await result.steps)[0].toolCalls[0].input, { number: 7 });
  },
  async structured() {
    const schema = z.object({ crop: z.string(), field: z.number().int() });
    const output = Output.object({ schema });
    const result = await generateText({ model, prompt, output, maxRetries: 0 });
    assert.equal(result.output.field, 7);
  },
  async embeddings() {
    const many = levada.textEmbeddingModel(name);
    const { embeddings } = await embedMany({ model: many, values: ['a', 'b'], maxRetries: 0 });
    assert.deepEqual(embeddings.map((one) => one.length), [4, 4]);
  },
  async unknown_model() {
    const error = await generateText({ model: levada('nobody'), prompt, maxRetries: 0 }).then(
      () => assert.fail('it was answered'), (reason) => reason,
    );
    assert.equal(error.statusCode, 404);
    assert.match(error.message, /nobody/);
  },
};

for (const [name, run] of Object.entries(cases)) {
  const wrong = await run().then(() => null, (reason) => String(reason));
  console.log(JSON.stringify([name, wrong]));
}
