package api

// The keys of the init-data document's data table that Holdfast reads.
const (
	// GuestConfigKey holds a GuestConfig as JSON.
	GuestConfigKey = "holdfast.json"
	// IgnitionKey holds an Ignition config, which the machine applies to itself
	// before its workload runs.
	IgnitionKey = "ignition.json"
)

// InitDataFile is the fw_cfg name under which a host hands a machine its
// init-data document.
const InitDataFile = "opt/holdfast/initdata"

// A GuestConfig says what one guest is to run and whom it may trust. It is
// measured before it is parsed and parsed strictly: an unknown key is refused.
type GuestConfig struct {
	// Image is HOST:PORT/REPOSITORY@sha256:…; with a Policy that wants it
	// signed, HOST:PORT/REPOSITORY:TAG as well.
	Image string `json:"image,omitempty"`
	// Policy is the text of a policy.json, with its keys in it. It is held to
	// the image whichever way that is named.
	Policy   string      `json:"policy,omitempty"`
	Registry Endpoint    `json:"registry"`
	Broker   Endpoint    `json:"broker"`
	Process  Process     `json:"process"`
	Secrets  []SecretRef `json:"secrets,omitempty"`
	Tmpfs    []Tmpfs     `json:"tmpfs,omitempty"`
	// Mounts are folders of the machine that the workload finds.
	Mounts []Mount `json:"mounts,omitempty"`
	// API lists the features of the HTTP API that the workload finds at
	// GuestAPI. Absent: it finds none.
	API []string `json:"api,omitempty"`
	// Control lists the calls beyond status that the host may make on the
	// control channel. Nothing is allowed that is not listed.
	Control []string `json:"control,omitempty"`
	// Pod is what to run instead of Image.
	Pod *Pod `json:"pod,omitempty"`
	MachineConfig
}

// An Endpoint is a service and the only CA that may vouch for it.
type Endpoint struct {
	URL string `json:"url"` // https://10.0.2.2:PORT
	CA  string `json:"ca"`  // PEM
}

// Process overrides what the image's config says, as docker run does.
type Process struct {
	Args       []string `json:"args,omitempty"` // replaces Cmd
	Entrypoint []string `json:"entrypoint,omitempty"`
	Env        []string `json:"env,omitempty"` // NAME=VALUE, added to the image's
	Terminal   bool     `json:"terminal,omitempty"`
	User       string   `json:"user,omitempty"`      // replaces the image's
	Workdir    string   `json:"workdir,omitempty"`   // replaces the image's
	Hostname   string   `json:"hostname,omitempty"`  // instead of the machine's
	ReadOnly   bool     `json:"read_only,omitempty"` // the root; the image's volumes stay writable
}

// A SecretRef is a secret that appears as /run/secrets/NAME: a broker's
// resource, or what a sealed secret stands for.
type SecretRef struct {
	Name     string `json:"name"`
	Resource string `json:"resource,omitempty"` // kbs:///REPOSITORY/TYPE/TAG
	Sealed   string `json:"sealed,omitempty"`   // sealed.HEADER.PAYLOAD.SIGNATURE, instead of Resource
}
