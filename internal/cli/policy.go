package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/policy"
	"holdfast/internal/wiring"
)

func (a *app) policyVerbs() *cobra.Command {
	return group("policy", "Try policies before the broker has them", a.policyTest(), a.policyShow(), a.policyVersion())
}

func (a *app) policyVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which engine decides, and in which language policies are written",
		Long:    "Prints the engine and the versions of Rego that policies are read in: v1, and v0\nfor a module that says \"# rego_version: 0\" above its package.\n\nExit codes: 0 printed, 2 usage.",
		Example: "  holdfast policy version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			answer := map[string]any{"engine": policy.Engine, "language": "Rego v1", "marked": "Rego v0"}
			return a.answer(answer, func(w io.Writer) {
				fmt.Fprintf(w, "%s\nRego v1; v0 where a module says \"# rego_version: 0\"\n", policy.Engine)
			})
		},
	}
}

func (a *app) policyShow() *cobra.Command {
	return &cobra.Command{
		Use:       "show KIND",
		Short:     "Print the attestation or resource policy that this program ships",
		Long:      "Prints a shipped policy: what holds until another is set, and what its input and\ndata are. With --json it is the member \"policy\" of an object.\n\nExit codes: 0 printed, 2 usage.",
		Example:   "  holdfast policy show attestation > attestation.rego",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), oneOf("kind of policy", wiring.PolicyKinds)),
		ValidArgs: wiring.PolicyKinds,
		RunE: func(_ *cobra.Command, args []string) error {
			text := wiring.Shipped(args[0])
			return a.answer(map[string]string{"kind": args[0], "policy": text}, func(w io.Writer) { fmt.Fprint(w, text) })
		},
	}
}

// policyTestFlags say what a policy is tried on.
type policyTestFlags struct{ evidence, proof, decision, data, kind string }

func (a *app) policyTest() *cobra.Command {
	var f policyTestFlags
	c := &cobra.Command{
		Use:   "test POLICY…",
		Short: "Try a policy on what a broker recorded, and say which line decided",
		Long: `Asks a policy what a broker was asked, and tells which lines decided, with the
values that they read. POLICY is a file, a folder of .rego files, or attestation
or resource for the shipped one. Files that end in _test.rego are the policy's
own tests, which run as with "opa test", and tell how much of it they cover.

--evidence takes a file with {"input": …, "data": …}, or an input alone with
--data beside it; --proof a proof that a broker wrote; --decision the number of
a decision that the broker keeps ("holdfast broker decisions").

Exit codes: 0 allowed, and all tests pass; 1 not; 2 usage.`,
		Example: "  holdfast policy test attestation.rego --proof proof.json\n  holdfast policy test policies/ --json",
		Args:    cobra.MinimumNArgs(1),
	}
	c.Flags().StringVar(&f.evidence, "evidence", "", "file of a question, or of an input")
	c.Flags().StringVar(&f.proof, "proof", "", "proof of a release")
	c.Flags().StringVar(&f.decision, "decision", "", "number of a decision that the broker keeps")
	c.Flags().StringVar(&f.data, "data", "", "file of the data, as JSON")
	c.Flags().StringVar(&f.kind, "kind", "attestation", "which of a proof's two questions: attestation or resource")
	c.MarkFlagsMutuallyExclusive("evidence", "proof", "decision")
	broker := a.brokerFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(wiring.PolicyKinds, f.kind) {
			return usageError{fmt.Errorf("--kind %.40q: want attestation or resource", f.kind)}
		}
		return a.tryPolicy(cmd.Context(), args, f, broker)
	}
	return c
}

// A policyTrial is the answer of "policy test".
type policyTrial struct {
	Engine   string            `json:"engine"`
	Question string            `json:"question,omitempty"`
	Allow    *bool             `json:"allow,omitempty"`
	Trust    map[string]int8   `json:"trust_claims,omitempty"`
	Reasons  []string          `json:"reasons,omitempty"`
	Said     []policy.Said     `json:"said,omitempty"`
	Steps    []policy.Step     `json:"steps,omitempty"`
	Tests    []policy.UnitTest `json:"tests,omitempty"`
	Coverage *policy.Coverage  `json:"coverage,omitempty"`
}

func (t policyTrial) good() bool {
	failed := slices.ContainsFunc(t.Tests, func(u policy.UnitTest) bool { return !u.Pass && !u.Skipped })
	return !failed && (t.Allow == nil || *t.Allow)
}

func (a *app) tryPolicy(ctx context.Context, words []string, f policyTestFlags, broker func(context.Context) (*admin.Client, error)) error {
	modules, tests, err := wiring.ReadRego(words)
	if err != nil {
		return err
	}
	if len(modules) == 0 {
		return usageError{errors.New("no policy is named: files that end in _test.rego are tests")}
	}
	p, err := policy.CompileFiles(strings.Join(words, " "), modules)
	if err != nil {
		return err
	}
	trial := policyTrial{Engine: p.Languages()}
	question, err := a.question(ctx, f, broker)
	if err != nil {
		return err
	}
	if question == nil && len(tests) == 0 {
		return usageError{errors.New("nothing to try it on: give --evidence, --proof or --decision, or its _test.rego files")}
	}
	if question != nil {
		if err := trial.ask(ctx, p, *question); err != nil {
			return err
		}
	}
	if len(tests) > 0 {
		units, coverage, err := policy.UnitTests(ctx, modules, tests)
		if err != nil {
			return err
		}
		trial.Tests, trial.Coverage = units, &coverage
	}
	if err := a.answer(trial, func(w io.Writer) { trial.print(w, a.colours()) }); err != nil {
		return err
	}
	if !trial.good() {
		return exitError(exitFailed)
	}
	return nil
}

// question is what the flags name, nil when they name none.
func (a *app) question(ctx context.Context, f policyTestFlags, broker func(context.Context) (*admin.Client, error)) (*wiring.Question, error) {
	path := f.evidence + f.proof
	if f.decision != "" {
		return a.decision(ctx, f.decision, broker)
	}
	if path == "" {
		return nil, nil
	}
	q, err := wiring.ReadQuestion(path, f.kind)
	if err != nil {
		return nil, err
	}
	if f.data != "" {
		q.Data, err = a.readFile(f.data)
	}
	return &q, err
}

func (a *app) decision(ctx context.Context, word string, broker func(context.Context) (*admin.Client, error)) (*wiring.Question, error) {
	number, err := strconv.ParseInt(word, 10, 64)
	if err != nil || number < 1 {
		return nil, usageError{fmt.Errorf("--decision %.40q: want a number", word)}
	}
	b, err := broker(ctx)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var q *wiring.Question
	err = b.EachDecision(ctx, number-1, func(d api.RecordedDecision) (bool, error) {
		if d.ID == number {
			q = &wiring.Question{Name: "decision " + word, Input: d.Input, Data: d.Data}
		}
		return false, nil
	})
	if err == nil && q == nil {
		err = fmt.Errorf("the broker keeps no decision %d", number)
	}
	return q, err
}

func (t *policyTrial) ask(ctx context.Context, p *policy.Policy, q wiring.Question) error {
	input, data, err := q.Values()
	if err != nil {
		return err
	}
	e, err := p.Explain(ctx, input, data)
	if err != nil && e.Reasons == nil {
		return err
	}
	t.Question, t.Allow, t.Trust, t.Reasons, t.Said, t.Steps = q.Name, &e.Allow, e.Trust, e.Reasons, e.Said, e.Steps
	return nil
}
