// Package hindsight watches what a plan's option really takes: it times the
// stages of a job ([Recorder]), so that [plan.Rates] learn from them, keeps what
// was predicted beside what was ([Run]), and says how good predictions and
// choices were ([Judge]).
package hindsight
