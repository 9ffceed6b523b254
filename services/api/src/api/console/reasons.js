// Why there was no signal, as a sentence with its figures. Every reason of inference has one here.

import { number, percent, price, seconds, words } from '/console/format.js';

const SIDES = { '-1': 'down', 0: 'flat', 1: 'up' };

const SENTENCES = {
  trading_halted: () => 'Trading is halted: nothing is sent.',
  trading_reducing: () => 'Trading only reduces: this signal would have added.',
  warmup_disabled: () => 'It has no model, and warm-up is off.',
  not_selected: () => 'The balances do not allow this symbol now.',
  take_profit_due: () => 'Its position is above its target and is being closed.',
  take_profit_triggered: () => 'The position was above its target: its exit was sent instead.',
  vector_stale: (f) => `The features are too old${f.age_s ? `: ${seconds(f.age_s)}` : ''}.`,
  vector_from_future: () => 'The features are stamped later than now: a clock is wrong.',
  vector_superseded: () => 'Newer features of the symbol had been seen already.',
  not_finite: () => 'A feature is not a number.',
  market_frozen: () => 'Nothing in the features moves but the clock.',
  no_vector: () => 'No features came in the time slot.',
  no_price: () => 'The features carry no price or no depth.',
  no_direction: () => 'The returns point nowhere, and no side is made up.',
  model_unavailable: () => 'Its model cannot be loaded yet.',
  model_of_another_symbol: (f) => `Its model${f.version ? ` ${f.version}` : ''} was trained on ${f.model_symbol ?? 'another symbol'}.`,
  registry_mismatch: () => 'The features are of another registry version than the model.',
  features_missing: () => 'The features lack what the model needs.',
  hold: (f) => holding(f),
  hold_costs: () => 'The expected move does not exceed what a trade costs.',
  class_returns_unknown: () => 'The model does not say what its classes are worth, and costs are to be heeded.',
  warmup_slot_taken: () => 'Warm-up has used this time slot already.',
  vector_already_decided: () => 'These features gave a signal already.',
  newer_signal_exists: () => 'Newer features gave a signal already.',
  open_order: () => 'An order of the symbol is still open.',
  exit_in_flight: () => 'The position is being closed: an entry would be in the way.',
  signal_in_flight: (f) => `The previous signal is still on its way${f.since_s ? `, for ${seconds(f.since_s)}` : ''}.`,
  position_unknown: () => 'The position is not known, and no entry is made blind.',
  would_open_short: () => 'There is nothing to sell: it would open a short.',
  balance_unknown: () => 'No balance of the quote currency is known.',
  balance_stale: (f) => `The newest balance is too old${f.age_s ? `: ${seconds(f.age_s)}` : ''}.`,
  balance_too_small: () => 'Too little is free after margin, reservations and fees.',
  position_limit: () => 'The position limit leaves less room than the minimum order.',
  hourly_notional_used: () => 'The limit per hour is used up.',
  below_minimum_order: () => 'The amount is below the minimum order.',
  rate_limited: () => 'The fleet’s rate limit is used up.',
  expired: () => 'It could not be sent before its validity ended.',
  database_unavailable: () => 'The database could not be read: entries stop.',
  decision_failed: () => 'The decision itself failed: a defect, or a model that cannot answer.',
};

// What became of the newest features, as one sentence. `outcome` as the API gives it.
export function sentence(outcome) {
  const facts = outcome.facts ?? {};
  if (outcome.outcome === 'signal') return sent(facts, outcome);
  const known = SENTENCES[outcome.reason];
  return known ? known(facts) : `No signal: ${words(outcome.reason)}.`;
}

export function meaning(reason) {
  const known = SENTENCES[reason];
  return known ? known({}) : words(reason);
}

function sent(facts, { version }) {
  const amount = facts.amount ? ` for ${number(facts.amount, 2)}` : '';
  const at = facts.price ? ` at ${price(facts.price)}` : '';
  return `Signal: ${facts.side ?? 'sent'}${amount}${at}, by ${version ?? 'warm-up'}.`;
}

function holding({ probabilities, threshold, lead }) {
  const sides = Object.entries(probabilities ?? {}).filter(([label]) => label !== '0');
  if (!sides.length) return 'The model’s answer is to wait.';
  const [label, probability] = sides.reduce((best, each) => (each[1] > best[1] ? each : best));
  const said = `${SIDES[label] ?? label} at ${percent(probability)}`;
  if (threshold && probability < threshold) return `The model waits: ${said}, ${percent(threshold)} is asked for.`;
  return `The model waits: ${said}${lead === undefined ? '' : `, ahead by ${percent(lead)}`}, is no clear lead.`;
}
