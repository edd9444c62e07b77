package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"ore/plan/hindsight"
	"ore/site"
)

func newAccuracy(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "accuracy",
		Short: "Say how far predictions were from what was, and what wrong choices cost",
		Args:  cobra.NoArgs,
		RunE: a.withSite(func(_ context.Context, s *site.Site, _ []string) error {
			acc, err := s.Accuracy()
			if err != nil {
				return err
			}
			if a.json {
				return a.print(acc)
			}
			a.tellAccuracy(acc)
			return nil
		}),
	}
}

// shownWrong is how many wrong choices are shown, the latest.
const shownWrong = 10

func (a *app) tellAccuracy(acc hindsight.Accuracy) {
	a.say("runs         %d, of which %d could not be predicted", acc.Runs, acc.Unknown)
	if acc.Whole.Runs > 0 || len(acc.Stages) > 0 {
		a.say("%-12s %5s  %12s  %8s  %8s", "stage", "runs", "median error", "p95", "bias")
	}
	for _, e := range acc.Stages {
		a.say("%-12s %5d  %11.1f%%  %7.1f%%  %+7.1f%%", e.Stage, e.Runs, 100*e.Median, 100*e.P95, 100*e.Bias)
	}
	if e := acc.Whole; e.Runs > 0 {
		a.say("%-12s %5d  %11.1f%%  %7.1f%%  %+7.1f%%  %.0f%% within the range", e.Stage, e.Runs, 100*e.Median, 100*e.P95, 100*e.Bias, 100*e.Inside)
	}
	if acc.Before > 0 {
		a.say("before       %.2f s in the middle to resolve and to find what exists, before there is a plan: no prediction has that", acc.Before)
	}
	if acc.Judged == 0 {
		return
	}
	a.say("choices      %d judged by the rates of today, %d wrong; regret %.1f%% in the mean, %.1f%% at worst",
		acc.Judged, len(acc.Wrong), 100*acc.Regret, 100*acc.Worst)
	for _, w := range acc.Wrong[max(0, len(acc.Wrong)-shownWrong):] {
		a.say("  %s  %s  %s, where %s was better by %.2f s (%.0f%%)", w.At.Format(time.DateTime), w.Key.Short(), w.Chosen, w.Better, w.Cost, 100*w.Share)
	}
}
