package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast/internal/atomicfile"
	"holdfast/internal/attest/tpm/verify"
	"holdfast/internal/proof"
	"holdfast/internal/web"
	"holdfast/internal/wiring"
)

func (a *app) verifyVerb() *cobra.Command {
	var at, html string
	var pods podPlace
	v := wiring.Verification{Stdin: a.Stdin}
	c := &cobra.Command{
		Use:   "verify FILE|RUN|pod/NAME",
		Short: "Check a proof of release again, offline, and explain it",
		Long: `Checks the proofs in FILE (- for standard input), those of the run called RUN,
or of what was released to machines of a confidential pod's configuration since
the pod began, with your own roots and nobody's help: the broker's signature,
the TPM's certificate, the quote, the event log, the reference values, both
policies and the token. Then it says in words what each PCR holds, which events
made it, and what was expected. At last it names what no reader can check.
Reports of AMD SEV-SNP and quotes of Intel TDX, also under Azure's TPM, are
judged by their makers' roots. Devices beside the machine are judged each by
the policy of its class; a release to a machine that another verifier attested,
by that one's token, when --issuers names it.

Exit codes: 0 verified, 1 failed, 2 usage, 3 something did not verify.`,
		Example: "  holdfast verify proof.json\n  holdfast verify pod/web --cluster lab\n" +
			"  holdfast verify proof.json --root their-root.pem --ek-root tpm-maker.pem --html proof.html",
		Args: cobra.ExactArgs(1),
	}
	whomToBelieve(c, &v)
	c.Flags().StringVar(&at, "at", "", "time at which certificates must be valid, as 2026-11-21T12:00:00Z (default: now)")
	c.Flags().StringVar(&html, "html", "", "file to write a page to that a person can read")
	c.Flags().StringVar(&pods.cluster, "cluster", defaultCluster, "of pod/NAME")
	c.Flags().StringVar(&pods.namespace, "namespace", "default", "of pod/NAME")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if v.At, err = parseTime(at); err != nil {
			return usageError{err}
		}
		v.Subject = args[0]
		if v.Released, err = a.releasedToPod(cmd.Context(), pods, v.Subject); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		result, err := dir.Verify(cmd.Context(), v)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if html != "" {
			err := atomicfile.Write(html, 0o644, func(w io.Writer) error { return web.Proof(w, result) })
			if err != nil {
				return fmt.Errorf("verify: write the page: %w", err)
			}
		}
		if err := a.answer(result, func(w io.Writer) { printVerified(w, result) }); err != nil {
			return err
		}
		return unverified(result)
	}
	return c
}

// whomToBelieve are the flags by which a reader says so.
func whomToBelieve(c *cobra.Command, v *wiring.Verification) {
	c.Flags().StringVar(&v.Root, "root", "", "PEM file of the root that certifies broker and images (default: this installation's)")
	c.Flags().StringArrayVar(&v.EKRoots, "ek-root", nil, "PEM file of an authority of TPMs; may be repeated (default: this installation's)")
	c.Flags().StringVar(&v.Collateral, "collateral", "", "folder of what makers of processors publish, as of \"holdfast serve\": for proofs of SNP, TDX and Azure machines")
	c.Flags().StringVar(&v.Issuers, "issuers", "", "file of other verifiers whose tokens you take, as of \"holdfast serve\": for releases that rest on one; keys behind a URL are not fetched")
	for kind, paths := range map[string]*[]string{"attestation": &v.AttestationPolicies, "resource": &v.ResourcePolicies} {
		c.Flags().StringArrayVar(paths, kind+"-policy", nil, "Rego file of a policy of this kind that you take for good, beside the shipped one; may be repeated")
	}
	v.DevicePolicies = map[string][]string{}
	c.Flags().Func("device-policy", "`CLASS=FILE` of a policy in Rego that you take for good for devices of this class, as gpu=gpu.rego (none ships); may be repeated", func(text string) error {
		class, path, ok := strings.Cut(text, "=")
		if !ok || class == "" || path == "" {
			return errors.New("want CLASS=FILE, as gpu=gpu.rego: a policy is good for devices of one class")
		}
		v.DevicePolicies[class] = append(v.DevicePolicies[class], path)
		return nil
	})
}

func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--at %.40q: want a time as 2026-11-21T12:00:00Z", text)
}

// unverifiedError names the checks that failed.
type unverifiedError struct {
	subject  string
	failures []proof.Check
}

func (e unverifiedError) Error() string {
	first := e.failures[0]
	text := fmt.Sprintf("verify %.80s: %s: %s", e.subject, first.Name, shortened(first.Text))
	if more := len(e.failures) - 1; more > 0 {
		text = fmt.Sprintf("%s (and %d more)", text, more)
	}
	return text
}

// shortened keeps an error to one line that reads well; the report has it whole.
func shortened(text string) string {
	const most = 220
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func unverified(v *wiring.Verified) error {
	var all []proof.Check
	for _, r := range v.Proofs {
		all = append(all, r.Failures()...)
	}
	if v.Verified {
		return nil
	}
	return unverifiedError{v.Subject, all}
}

func printVerified(w io.Writer, v *wiring.Verified) {
	for i, r := range v.Proofs {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printProof(w, r)
	}
	for _, r := range v.Revoked {
		fmt.Fprintf(w, "\nimage %s (%s) is revoked since %s: %s\n", printable(r.Image), printable(r.UKI), r.At.Format(time.RFC3339), printable(r.Reason))
	}
	fmt.Fprintf(w, "\nNobody but the broker and the machine can know\n")
	for _, word := range v.Word {
		fmt.Fprintf(w, "  - %s\n", word)
	}
	verdict := "verified"
	if !v.Verified {
		verdict = "NOT verified"
	}
	fmt.Fprintf(w, "\n%s: %s, certificates judged at %s\n", verdict, count(len(v.Proofs), "proof"), v.At.Format(time.RFC3339))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func printProof(w io.Writer, r *proof.Report) {
	s := r.Release
	fmt.Fprintf(w, "released %s at %s\n", s.Resource, s.Time.Format(time.RFC3339))
	for _, row := range [][2]string{
		{"to workload", s.Workload}, {"configuration", s.Configuration}, {"in machine image", s.Image},
		{"root hash", s.RootHash}, {"evidence", s.TEE}, {"on TPM", tpmWords(s.TPM, s.Endorsement)}, {"with devices", strings.Join(s.Devices, ", ")},
		{"attested by", s.Issuer}, {"by broker key", s.BrokerKey},
	} {
		if row[1] != "" {
			fmt.Fprintf(w, "  %-17s %s\n", row[0], printable(row[1]))
		}
	}
	fmt.Fprintln(w, "\nchecked")
	for _, c := range r.Checks {
		fmt.Fprintf(w, "  %-11s %s: %s\n", c.Verdict, c.Name, printable(c.Text))
	}
	if len(r.PCRs) > 0 {
		fmt.Fprintln(w, "\nwhat the TPM signed")
	}
	for _, p := range r.PCRs {
		printPCR(w, p)
	}
}

func tpmWords(device map[string]string, endorsement string) string {
	var parts []string
	if endorsement == "" {
		return ""
	}
	for _, name := range []string{"manufacturer", "model", "version"} {
		if device[name] != "" {
			parts = append(parts, device[name])
		}
	}
	return strings.Join(append(parts, "certificate "+endorsement), " ")
}

func printPCR(w io.Writer, p proof.PCR) {
	if p.Verdict == proof.Untouched {
		return
	}
	fmt.Fprintf(w, "  PCR %-2d  %s: %s\n", p.Number, p.Meaning, p.Verdict)
	fmt.Fprintf(w, "          measured  %s\n", p.Measured)
	if p.Expected != "" {
		fmt.Fprintf(w, "          expected  %s, by %s\n", p.Expected, printable(p.Source))
	}
	for _, e := range p.Events {
		fmt.Fprintf(w, "          %s %s  %s\n", mark(e), e.Digest[:min(12, len(e.Digest))], printable(e.Text))
	}
}

// mark tells a digest that proves its words from one that does not.
func mark(e verify.Event) string {
	if e.Proven {
		return "="
	}
	return "~"
}
