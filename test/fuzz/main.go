// Command fuzz runs the fuzz targets of this repository and keeps account.
//
// A target says in its doc comment which parser it attacks, or means all of
// its package:
//
//	//fuzz:parser gpt.go ../guid/guid.go:Parse
//
// The record beside this file adds up, over any number of runs and machines,
// the processor time that each target has spent on its parser. When the
// parser's code or the target changes, its account starts again at nothing, so
// a figure in docs/fuzzing.md always speaks of the code beside it.
//
//	go run ./test/fuzz run        a turn for each target below the bar
//	go run ./test/fuzz corpus     keep the found inputs that reach new code
//	go run ./test/fuzz coverage   replay all inputs and count the parsers' lines
//	go run ./test/fuzz report     write docs/fuzzing.md from the record
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// config is what all verbs share.
type config struct {
	root   string         // of the repository
	state  string         // binaries and found inputs
	only   *regexp.Regexp // names of targets
	turn   string         // how long a target runs: a duration, or 500x
	bar    time.Duration  // of processor time
	rounds int
	plain  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	c, verb, err := parse(args)
	if err != nil {
		return err
	}
	targets, err := c.targets()
	if err != nil {
		return err
	}
	verbs := map[string]func(context.Context, []*Target) error{
		"run": c.run, "corpus": c.corpus, "coverage": c.coverage, "report": c.report,
	}
	do, ok := verbs[verb]
	if !ok {
		return fmt.Errorf("%q is no verb: want run, corpus, coverage or report", verb)
	}
	return do(ctx, targets)
}

func parse(args []string) (*config, string, error) {
	c := &config{}
	flags := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	flags.StringVar(&c.root, "root", ".", "the repository")
	flags.StringVar(&c.state, "state", ".holdfast/fuzz", "folder of binaries and found inputs")
	flags.StringVar(&c.turn, "time", "1m", "how long a target runs in a turn: a duration, or a count as in 500x")
	flags.DurationVar(&c.bar, "bar", 30*time.Minute, "processor time after which a target rests")
	flags.IntVar(&c.rounds, "rounds", 1, "turns for each target; 0 goes on until all have reached the bar")
	flags.BoolVar(&c.plain, "plain", false, "mutate blindly and keep no account: needs no special compilation, so it is quick")
	only := flags.String("only", ".", "pattern of package and target, as in boot/gpt")
	if len(args) == 0 {
		return nil, "", fmt.Errorf("want a verb: run, corpus, coverage or report")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return nil, "", err
	}
	var err error
	if c.only, err = regexp.Compile(*only); err != nil {
		return nil, "", err
	}
	if c.root, err = filepath.Abs(c.root); err != nil {
		return nil, "", err
	}
	c.state, err = filepath.Abs(c.state)
	return c, args[0], err
}
