// Package approver approves the certificates that kubelets want to serve with.
//
// Kubernetes approves a kubelet's client certificate by itself, and leaves its serving
// certificate to whoever knows the nodes' addresses. A request is approved only
// when it comes from the node that it names and asks for nothing but that node's own
// name and address.
package approver

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"holdfast/internal/cluster/kubeapi"
)

// Nodes are the addresses that each node has, by its name.
type Nodes map[string][]netip.Addr

const (
	signer = "kubernetes.io/kubelet-serving"
	path   = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
	group  = "system:nodes"
	prefix = "system:node:"
)

// A request is as much of a CertificateSigningRequest as is judged, and all of
// it as it came.
type request struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Request  []byte   `json:"request"`
		Signer   string   `json:"signerName"`
		Username string   `json:"username"`
		Groups   []string `json:"groups"`
		Usages   []string `json:"usages"`
	} `json:"spec"`
	Status struct {
		Conditions []json.RawMessage `json:"conditions"`
	} `json:"status"`
}

// Run approves until ctx ends.
func Run(ctx context.Context, api *kubeapi.Client, nodes Nodes, log *slog.Logger) {
	for ctx.Err() == nil {
		err := api.Watch(ctx, path+"?watch=true&timeoutSeconds=600&fieldSelector=spec.signerName%3D"+"kubernetes.io%2Fkubelet-serving", func(e kubeapi.Event) error {
			if e.Type != "ADDED" && e.Type != "MODIFIED" {
				return nil
			}
			return consider(ctx, api, nodes, log, e.Object)
		})
		if err != nil && ctx.Err() == nil {
			log.Warn("watch certificate requests", "err", err)
		}
		api.Close() // the next watch shows the certificate that there is then
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func consider(ctx context.Context, api *kubeapi.Client, nodes Nodes, log *slog.Logger, raw []byte) error {
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	if len(r.Status.Conditions) > 0 {
		return nil
	}
	if err := judge(r, nodes); err != nil {
		log.Warn("certificate request is left for a person", "request", r.Metadata.Name, "user", r.Spec.Username, "reason", err)
		return nil
	}
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		return err
	}
	whole["status"] = map[string]any{"conditions": []map[string]any{{
		"type": "Approved", "status": "True", "reason": "HoldfastNode", "message": "the node asks for its own name and address"}}}
	if err := api.Put(ctx, path+"/"+r.Metadata.Name+"/approval", whole, nil); err != nil {
		return err
	}
	log.Info("certificate request approved", "request", r.Metadata.Name, "user", r.Spec.Username)
	return nil
}

// allowedUsages are those of a serving certificate; key encipherment is for RSA.
var allowedUsages = []string{"digital signature", "key encipherment", "server auth"}

// judge says why a request is not to be approved.
func judge(r request, nodes Nodes) error {
	if r.Spec.Signer != signer {
		return fmt.Errorf("signer is %q", r.Spec.Signer)
	}
	block, rest := pem.Decode(r.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return errors.New("want one PEM block of type CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil {
		return err
	}
	name := csr.Subject.CommonName
	node := name[min(len(name), len(prefix)):]
	addresses, known := nodes[node]
	switch {
	case name != prefix+node || !known:
		return fmt.Errorf("%.80q is no node of this cluster", name)
	case r.Spec.Username != name || !slices.Contains(r.Spec.Groups, group):
		return fmt.Errorf("%.80q asks in the name of %s", r.Spec.Username, name)
	case len(csr.Subject.Organization) != 1 || csr.Subject.Organization[0] != group:
		return fmt.Errorf("it asks for the groups %.80q", csr.Subject.Organization)
	case len(csr.EmailAddresses)+len(csr.URIs) > 0 || len(csr.DNSNames)+len(csr.IPAddresses) == 0:
		return errors.New("it wants names of a kind that no node has, or none")
	}
	return judgeNames(csr, r.Spec.Usages, node, addresses)
}

func judgeNames(csr *x509.CertificateRequest, usages []string, node string, addresses []netip.Addr) error {
	for _, name := range csr.DNSNames {
		if name != node {
			return fmt.Errorf("it wants the name %.80q", name)
		}
	}
	for _, ip := range csr.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); !ok || !slices.Contains(addresses, a.Unmap()) {
			return fmt.Errorf("it wants the address %s", ip)
		}
	}
	for _, usage := range usages {
		if !slices.Contains(allowedUsages, usage) {
			return fmt.Errorf("it wants to be used for %.80q", usage)
		}
	}
	if !slices.Contains(usages, "server auth") {
		return errors.New("it is not for serving")
	}
	return nil
}
