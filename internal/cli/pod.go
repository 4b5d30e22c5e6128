package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/api"
	"holdfast/internal/enc/sealed"
	"holdfast/internal/wiring"
)

func (a *app) podVerbs() *cobra.Command {
	return group("pod", "Make pods of a cluster confidential", a.podSeal(), a.podNode())
}

// A sealedManifest is the answer of "pod seal".
type sealedManifest struct {
	Manifest string             `json:"manifest"`
	Pods     []wiring.SealedPod `json:"pods"`
}

func (a *app) podSeal() *cobra.Command {
	var s wiring.PodSeal
	var file, cluster string
	var secrets, commands []string
	var apart bool
	c := &cobra.Command{
		Use:   "seal -f FILE --cluster NAME",
		Short: "Write down what confidential pods may do, and authorise it",
		Long: `Reads a manifest (pods, and what makes pods: Deployment, StatefulSet, Job and
so on), and writes it with the measured configuration of each pod as an
annotation: its images by digest, arguments, variables, users, volumes,
ConfigMaps of the same manifest, and secrets. The broker is told to give each
configuration the keys of its images, and its secrets. With RuntimeClass
holdfast, such a pod runs in a machine that was measured with its
configuration, and does nothing else.

The host may start no command in such a pod but what the manifest's own probes
and hooks are, and what --exec names: words as "kubectl exec" has them, or an
object as docs/formats/pod.md has it, with patterns, input and a terminal.
Values of Secrets have to be sealed (holdfast secret seal).

What a machine could not keep, or the node would have to be believed in, is
refused with the field's name. A configuration is known by its digest alone:
who changes a pod seals it again.

Exit codes: 0 sealed, 1 failed, 2 usage, 3 the broker refused.`,
		Example: `  holdfast pod seal -f web.yaml --cluster lab \
    --secret web/token=kbs:///web/secret/token | kubectl apply -f -`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "manifest; - is standard input")
	f.StringVar(&cluster, "cluster", "", "cluster of this installation, whose pods reach registry and broker at this machine's ports 5000 and 8080")
	f.StringVar(&s.Registry, "pods-registry", "", "URL of the registry as pods reach it")
	f.StringVar(&s.Broker, "pods-broker", "", "URL of the broker as pods reach it")
	f.StringArrayVar(&secrets, "secret", nil, "CONTAINER/NAME=kbs:///REPOSITORY/TYPE/TAG or a sealed secret: the file /run/secrets/NAME; may be repeated")
	f.StringArrayVar(&commands, "exec", nil, "CONTAINER=COMMAND that the host may start, as words or as JSON; may be repeated")
	f.StringArrayVar(&s.NoLogs, "no-logs", nil, "container whose output stays in its machine; may be repeated")
	f.BoolVar(&apart, "no-allow", false, "leave authorising to \"holdfast broker allow\"")
	_ = c.MarkFlagRequired("file")
	c.MarkFlagsOneRequired("cluster", "pods-registry")
	c.MarkFlagsOneRequired("cluster", "pods-broker")
	options, broker := a.transportFlags(c), a.brokerFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if s.Secrets, err = podSecrets(secrets); err != nil {
			return usageError{err}
		}
		if s.Commands, err = podCommands(commands); err != nil {
			return usageError{err}
		}
		if s.Transport, err = options(); err != nil {
			return err
		}
		if s.Manifest, err = a.readFile(file); err != nil {
			return err
		}
		if !apart {
			if s.Admin, err = broker(cmd.Context()); err != nil {
				return err
			}
			defer s.Admin.Close()
		}
		if err := a.podServices(cmd.Context(), cluster, &s); err != nil {
			return err
		}
		dir, err := a.installation()
		if err != nil {
			return err
		}
		manifest, pods, err := dir.SealPods(cmd.Context(), s)
		if err != nil {
			return fmt.Errorf("seal %s: %w", file, err)
		}
		return a.answer(sealedManifest{string(manifest), pods}, func(w io.Writer) { _, _ = w.Write(manifest) })
	}
	return c
}

// podServices fills in where pods of a cluster reach registry and broker.
func (a *app) podServices(ctx context.Context, name string, s *wiring.PodSeal) error {
	if name == "" {
		return nil
	}
	f, err := a.clusters(wiring.Sources{})
	if err != nil {
		return err
	}
	st, err := f.Status(ctx, name)
	if err != nil {
		return err
	}
	s.Registry = cmp.Or(s.Registry, "https://"+st.Host+":5000")
	s.Broker = cmp.Or(s.Broker, "https://"+st.Host+":8080")
	return nil
}

func (a *app) podNode() *cobra.Command {
	var guest string
	c := &cobra.Command{
		Use:   "node",
		Short: "Tell a node's shim how to run the machines of pods",
		Long: `Prints the configuration of containerd-shim-holdfast-v2 as JSON: which image,
firmware and authority of software TPMs the machines of confidential pods have.
The machine image is composed when it is absent.

Exit codes: 0 printed, 1 failed, 2 usage, 5 something is not installed.`,
		Example: "  holdfast pod node > /etc/holdfast/pods.json",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&guest, "guest", guestRecipe(), "folder of the machine image's recipe")
	sources := sourceFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		b, err := a.builder(*sources)
		if err != nil {
			return err
		}
		b.Node = nodeProgram()
		node, err := b.PodNode(cmd.Context(), guest)
		if err != nil {
			return err
		}
		return json.NewEncoder(a.Stdout).Encode(node)
	}
	return c
}

// podSecrets reads CONTAINER/NAME=WHERE.
func podSecrets(words []string) (map[string][]api.SecretRef, error) {
	all := map[string][]api.SecretRef{}
	for _, word := range words {
		to, from, ok := strings.Cut(word, "=")
		container, name, named := strings.Cut(to, "/")
		if !ok || !named || container == "" || name == "" {
			return nil, fmt.Errorf("--secret %.80q: want CONTAINER/NAME=kbs:///REPOSITORY/TYPE/TAG", word)
		}
		ref := api.SecretRef{Name: name, Sealed: from}
		if !sealed.Is(from) {
			path, err := resource(from)
			if err != nil {
				return nil, err
			}
			ref = api.SecretRef{Name: name, Resource: "kbs:///" + path}
		}
		all[container] = append(all[container], ref)
	}
	return all, nil
}

// podCommands reads CONTAINER=WORDS and CONTAINER={…}.
func podCommands(words []string) (map[string][]api.Command, error) {
	all := map[string][]api.Command{}
	for _, word := range words {
		container, text, ok := strings.Cut(word, "=")
		c := api.Command{Args: strings.Fields(text), Streams: []string{api.StreamLogs}}
		if strings.HasPrefix(text, "{") {
			c = api.Command{}
			d := json.NewDecoder(strings.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&c); err != nil {
				return nil, fmt.Errorf("--exec %.80q: %w", word, err)
			}
		}
		if !ok || container == "" || len(c.Args) == 0 {
			return nil, fmt.Errorf("--exec %.80q: want CONTAINER=COMMAND", word)
		}
		all[container] = append(all[container], c)
	}
	return all, nil
}
