package wiring

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/broker/admin"
	"holdfast/internal/cluster/confidential"
	"holdfast/internal/enc/sealed"
	"holdfast/internal/image/transport"
	"holdfast/internal/keys"
	"holdfast/internal/oci"
)

// A PodSeal writes the configurations of a manifest's pods.
type PodSeal struct {
	Manifest         []byte
	Registry, Broker string // URLs as pods reach them
	CA               string // PEM; empty: this installation's
	Transport        transport.Options
	Secrets          map[string][]api.SecretRef // by container
	NoLogs           []string                   // containers whose output the host does not get
	Commands         map[string][]api.Command   // that the host may start, by container
	// Admin authorises the configurations; nil: nobody does.
	Admin *admin.Client
}

// A SealedPod is one of the manifest.
type SealedPod struct {
	Object        string   `json:"object"`        // Kind/NAME
	Configuration string   `json:"configuration"` // digest of its document
	Resources     []string `json:"resources"`     // kbs:///…, that it may have
}

// SealPods gives the manifest with a configuration for each pod, authorised where there
// is an administrator.
func (i Installation) SealPods(ctx context.Context, s PodSeal) (manifest []byte, pods []SealedPod, err error) {
	if s.CA == "" {
		ring, err := i.Ring(ctx)
		if err != nil {
			return nil, nil, err
		}
		s.CA = string(ring.CertificatePEM(keys.TLS))
	}
	for name, at := range map[string]string{"registry": s.Registry, "broker": s.Broker} {
		if u, err := url.Parse(at); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, nil, fmt.Errorf("%s %.200q: want https://HOST:PORT, as pods reach it", name, at)
		}
	}
	m, err := confidential.Parse(s.Manifest)
	if err != nil {
		return nil, nil, err
	}
	maps, err := m.ConfigMaps()
	if err != nil {
		return nil, nil, err
	}
	secrets, err := m.Secrets()
	if err != nil {
		return nil, nil, err
	}
	images := podImages{ctx: ctx, options: s.Transport, seen: map[string]podImage{}}
	settings := confidential.Settings{
		ConfigMaps: maps, SealedSecrets: secrets, Image: images.digest, Secrets: s.Secrets, NoLogs: s.NoLogs, Commands: s.Commands,
	}
	var resources [][]string
	sealedPods, err := m.Seal(settings, func(p *api.Pod) ([]byte, error) {
		needs, err := images.resources(p)
		if err != nil {
			return nil, err
		}
		resources = append(resources, needs)
		c := api.GuestConfig{Registry: api.Endpoint{URL: s.Registry, CA: s.CA}, Broker: api.Endpoint{URL: s.Broker, CA: s.CA}, Pod: p}
		if err := c.Check(); err != nil {
			return nil, err
		}
		return InitData(c)
	})
	if err != nil {
		return nil, nil, err
	}
	for n, p := range sealedPods {
		pods = append(pods, SealedPod{p.Object, string(oci.SHA256(p.Document)), resources[n]})
	}
	if s.Admin != nil {
		if err := allowPods(ctx, s.Admin, pods); err != nil {
			return nil, nil, err
		}
	}
	manifest, err = m.Text()
	return manifest, pods, err
}

func allowPods(ctx context.Context, a *admin.Client, pods []SealedPod) error {
	for _, p := range pods {
		paths := make([]string, len(p.Resources))
		for i, r := range p.Resources {
			paths[i] = strings.TrimPrefix(r, kbsScheme)
		}
		if err := a.Allow(ctx, p.Configuration, paths); err != nil {
			return fmt.Errorf("authorise %s: %w", p.Object, err)
		}
	}
	return nil
}

// podImages are looked at once each.
type podImages struct {
	ctx     context.Context
	options transport.Options
	seen    map[string]podImage // by the name that the machine has for it
}

// A podImage is what a pod's machine needs for an image.
type podImage struct {
	keys []string
	user string // as the image's config has it
}

// digest gives the name of an image by its digest.
func (p podImages) digest(name string) (string, error) {
	ref, err := transport.Parse(name)
	if err != nil {
		return "", err
	}
	if ref.Kind != transport.Registry {
		return "", fmt.Errorf("image %.200q: want one in a registry", name)
	}
	options := p.options
	options.Architecture = machineArchitecture
	image, err := transport.Inspect(p.ctx, ref, options)
	if err != nil {
		return "", err
	}
	needs, err := brokerKeys(image)
	if err != nil {
		return "", err
	}
	repository, _, _ := strings.Cut(name, "@")
	if at := strings.LastIndexByte(repository, ':'); at > strings.LastIndexByte(repository, '/') {
		repository = repository[:at]
	}
	pinned := repository + "@" + string(image.Digest)
	p.seen[pinned] = podImage{needs, image.Config.User}
	return pinned, nil
}

// isNumeric says whether a node knows a USER[:GROUP] without the image's accounts.
func isNumeric(user string) bool {
	return strings.Trim(user, "0123456789:") == ""
}

// resources are all that the machine of a pod asks for.
func (p podImages) resources(pod *api.Pod) (all []string, err error) {
	var texts []string // sealed secrets
	for _, v := range pod.Volumes {
		for _, f := range v.Files {
			if f.Sealed != "" {
				texts = append(texts, f.Sealed)
			}
		}
	}
	for _, c := range pod.Containers {
		image := p.seen[c.Image]
		if c.Process.User == "" && !isNumeric(image.user) {
			return nil, fmt.Errorf("container %s: its image's user is the name %.80q, which a node that cannot open the image cannot look up: write securityContext.runAsUser", c.Name, image.user)
		}
		all = append(all, image.keys...)
		for _, s := range c.Secrets {
			if s.Resource != "" {
				all = append(all, s.Resource)
			} else {
				texts = append(texts, s.Sealed)
			}
		}
		for _, v := range c.Process.Env {
			if _, value, _ := strings.Cut(v, "="); sealed.Is(value) {
				texts = append(texts, value)
			}
		}
	}
	for _, text := range texts {
		needs, err := sealed.Resources(text)
		if err != nil {
			return nil, err
		}
		all = append(all, needs...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}
