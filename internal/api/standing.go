package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A MachineConfig is what a machine is beside its workload: as what it is
// certified, what it belongs to, and whom it believes. It is measured with the
// rest of the configuration.
type MachineConfig struct {
	Identity *Identity `json:"identity,omitempty"`
	Update   *Update   `json:"update,omitempty"`
	Cluster  *Cluster  `json:"cluster,omitempty"`
	// ConfigKey is whose signature makes good what the Ignition config merges or
	// is replaced by: sha256:HEX, the key's ID, or PEM of the roots that certify
	// such keys. Empty: only what is named by its hash is good.
	ConfigKey string `json:"config_key,omitempty"`
	// Report is told by POST how the Ignition config was applied.
	Report *Endpoint `json:"report,omitempty"`
}

// Where the services and the workload of a machine find what it is.
const (
	// IdentityDir has svid.pem, svid_key.pem and svid_bundle.pem of an Identity.
	IdentityDir = "/run/identity"
	// MachineDir has update.json and cluster.json: an Update and a Cluster.
	MachineDir = "/run/machine"
)

// An Identity is the X.509-SVID that the broker gives the machine as a resource
// which its configuration may have.
type Identity struct {
	Resource string `json:"resource"` // kbs:///REPOSITORY/TYPE/TAG
	// Owner is UID or UID:GID of who may read the key; root when empty.
	Owner string `json:"owner,omitempty"`
	// Reload are services of the Ignition config that are told of each renewal.
	Reload []string `json:"reload,omitempty"`
}

// An Update is the stream of machine images that the machine is of.
type Update struct {
	Stream string   `json:"stream"` // HOST[:PORT]/REPOSITORY:TAG
	Keys   []string `json:"keys"`   // sha256:HEX of keys that may sign it
}

// A Cluster is the one that the machine is a member of.
type Cluster struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"` // https://HOST:PORT of its API
	CA       string `json:"ca"`       // sha256:HEX of its authority's SubjectPublicKeyInfo
	Role     string `json:"role"`     // RoleControlPlane or RoleWorker
}

// The roles of a machine in a cluster.
const (
	RoleControlPlane = "control-plane"
	RoleWorker       = "worker"
)

// IsZero says that nothing is said.
func (m MachineConfig) IsZero() bool { return m == MachineConfig{} }

var (
	resourceForm = regexp.MustCompile(`^kbs:///[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$`)
	keyForm      = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	// streamForm is a reference with a tag, as the distribution specification has
	// its names and tags.
	streamForm   = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	endpointForm = regexp.MustCompile(`^https://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?$`)
	serviceForm  = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,240}\.service$`)
)

// Check refuses what a machine would not do as it is written. No error here
// repeats a value.
func (m MachineConfig) Check() error {
	for _, part := range []struct {
		name string
		err  error
	}{{"identity", m.Identity.Check()}, {"update", m.Update.Check()}, {"cluster", m.Cluster.Check()}, {"report", m.Report.checkReport()}} {
		if part.err != nil {
			return fmt.Errorf("%s: %w", part.name, part.err)
		}
	}
	if k := m.ConfigKey; k != "" && !keyForm.MatchString(k) && !strings.Contains(k, "-----BEGIN CERTIFICATE-----") {
		return errors.New("config_key: want sha256: and 64 hex digits, or certificates in PEM")
	}
	return nil
}

// checkMachine refuses what the rest of the configuration does not allow for.
func (c GuestConfig) checkMachine() error {
	switch {
	case c.Identity != nil && c.Broker.URL == "":
		return errors.New("identity: there is no broker to certify it")
	case c.Identity == nil && c.mountsIdentity():
		return errors.New("mount " + IdentityDir + ": the machine has no identity")
	}
	return c.MachineConfig.Check()
}

func (e *Endpoint) checkReport() error {
	if e != nil && !strings.HasPrefix(e.URL, "https://") {
		return errors.New("want the URL of an https server")
	}
	return nil
}

// Check is nil for none.
func (i *Identity) Check() error {
	if i == nil {
		return nil
	}
	if !resourceForm.MatchString(i.Resource) {
		return errors.New("resource: want kbs:///REPOSITORY/TYPE/TAG")
	}
	if _, _, err := i.IDs(); err != nil {
		return err
	}
	for n, name := range i.Reload {
		if !serviceForm.MatchString(name) || slices.Contains(i.Reload[:n], name) {
			return fmt.Errorf("reload %d: want the name of a service, NAME.service, once", n+1)
		}
	}
	return nil
}

// IDs are the numbers of the owner.
func (i *Identity) IDs() (uid, gid int, err error) {
	if i.Owner == "" {
		return 0, 0, nil
	}
	user, group, both := strings.Cut(i.Owner, ":")
	if !both {
		group = user
	}
	u, err := strconv.ParseUint(user, 10, 31)
	g, wrong := strconv.ParseUint(group, 10, 31)
	if err != nil || wrong != nil {
		return 0, 0, errors.New("owner: want UID or UID:GID, as numbers")
	}
	return int(u), int(g), nil
}

// Check is nil for none.
func (u *Update) Check() error {
	switch {
	case u == nil:
		return nil
	case !streamForm.MatchString(u.Stream):
		return errors.New("stream: want HOST[:PORT]/REPOSITORY:TAG")
	case len(u.Keys) == 0:
		return errors.New("there are no keys: nobody could sign the stream")
	}
	for n, key := range u.Keys {
		if !keyForm.MatchString(key) {
			return fmt.Errorf("key %d: want sha256: and 64 hex digits", n+1)
		}
	}
	return nil
}

// Check is nil for none.
func (c *Cluster) Check() error {
	switch {
	case c == nil:
		return nil
	case !nameForm.MatchString(c.Name):
		return errors.New("name: want lower-case letters, digits and inner hyphens")
	case !endpointForm.MatchString(c.Endpoint):
		return errors.New("endpoint: want https://HOST:PORT")
	case !keyForm.MatchString(c.CA):
		return errors.New("ca: want sha256: and the 64 hex digits of the SHA-256 of its SubjectPublicKeyInfo")
	case c.Role != RoleControlPlane && c.Role != RoleWorker:
		return errors.New("role: want " + RoleControlPlane + " or " + RoleWorker)
	}
	return nil
}
