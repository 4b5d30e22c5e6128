package confidential

import "encoding/json"

// A podSpec is what is read of a PodSpec (Kubernetes v1.36, core/v1). What is not
// here is refused: it might have been meant as a restriction, or be a way for the node into the pod. Of
// fields of type any, nothing matters to what runs.
type podSpec struct {
	Containers     []container `json:"containers"`
	InitContainers []container `json:"initContainers"`
	Volumes        []volume    `json:"volumes"`
	Hostname       string      `json:"hostname"`
	Security       security    `json:"securityContext"`
	Automount      *bool       `json:"automountServiceAccountToken"`
	ServiceLinks   *bool       `json:"enableServiceLinks"`
	RuntimeClass   string      `json:"runtimeClassName"`
	HostNetwork    bool        `json:"hostNetwork"`
	HostPID        bool        `json:"hostPID"`
	HostIPC        bool        `json:"hostIPC"`
	Resources      any         `json:"resources"`
	placement
}

// placement is where and how long a pod runs.
type placement struct {
	RestartPolicy             any `json:"restartPolicy"`
	TerminationGrace          any `json:"terminationGracePeriodSeconds"`
	ActiveDeadline            any `json:"activeDeadlineSeconds"`
	NodeSelector              any `json:"nodeSelector"`
	NodeName                  any `json:"nodeName"`
	Affinity                  any `json:"affinity"`
	Tolerations               any `json:"tolerations"`
	TopologySpreadConstraints any `json:"topologySpreadConstraints"`
	PriorityClassName         any `json:"priorityClassName"`
	SchedulerName             any `json:"schedulerName"`
	ServiceAccountName        any `json:"serviceAccountName"`
	ImagePullSecrets          any `json:"imagePullSecrets"`
	ReadinessGates            any `json:"readinessGates"`
	DNSPolicy                 any `json:"dnsPolicy"` // the machine asks its own gateway
}

type container struct {
	Name         string     `json:"name"`
	Image        string     `json:"image"`
	Command      []string   `json:"command"`
	Args         []string   `json:"args"`
	WorkingDir   string     `json:"workingDir"`
	Env          []variable `json:"env"`
	EnvFrom      []source   `json:"envFrom"`
	VolumeMounts []mounting `json:"volumeMounts"`
	Resources    struct {
		Limits   map[string]any `json:"limits"`
		Requests any            `json:"requests"`
	} `json:"resources"`
	Security  security `json:"securityContext"`
	Readiness *probe   `json:"readinessProbe"`
	Liveness  *probe   `json:"livenessProbe"`
	Startup   *probe   `json:"startupProbe"`
	Lifecycle struct {
		PostStart *handler `json:"postStart"`
		PreStop   *handler `json:"preStop"`
	} `json:"lifecycle"`
	Stdin         bool   `json:"stdin"`
	TTY           bool   `json:"tty"`
	RestartPolicy string `json:"restartPolicy"`

	TerminationPath   string `json:"terminationMessagePath"`
	TerminationPolicy any    `json:"terminationMessagePolicy"`
	Ports             any    `json:"ports"`
	PullPolicy        any    `json:"imagePullPolicy"`
	StdinOnce         any    `json:"stdinOnce"`
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  *struct {
		ConfigMap *keyed          `json:"configMapKeyRef"`
		Secret    *keyed          `json:"secretKeyRef"`
		Field     json.RawMessage `json:"fieldRef"`
		Resource  json.RawMessage `json:"resourceFieldRef"`
	} `json:"valueFrom"`
}

type keyed struct {
	Name     string `json:"name"`
	Key      string `json:"key"`
	Optional bool   `json:"optional"`
}

// A source gives a variable for each of its keys.
type source struct {
	Prefix    string `json:"prefix"`
	ConfigMap *named `json:"configMapRef"`
	Secret    *named `json:"secretRef"`
}

type named struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
}

type mounting struct {
	Name     string `json:"name"`
	Path     string `json:"mountPath"`
	ReadOnly bool   `json:"readOnly"`
}

type volume struct {
	Name     string `json:"name"`
	EmptyDir *struct {
		Medium string `json:"medium"`
		Limit  any    `json:"sizeLimit"`
	} `json:"emptyDir"`
	ConfigMap *configMapVolume `json:"configMap"`
	Secret    *secretVolume    `json:"secret"`
	Projected *struct {
		Mode    *int        `json:"defaultMode"`
		Sources []projected `json:"sources"`
	} `json:"projected"`
}

type configMapVolume struct {
	Name     string `json:"name"`
	Mode     *int   `json:"defaultMode"`
	Items    []item `json:"items"`
	Optional bool   `json:"optional"`
}

type secretVolume struct {
	Name     string `json:"secretName"`
	Mode     *int   `json:"defaultMode"`
	Items    []item `json:"items"`
	Optional bool   `json:"optional"`
}

// A projected source is one of several that fill a volume.
type projected struct {
	ConfigMap *struct {
		Name     string `json:"name"`
		Items    []item `json:"items"`
		Optional bool   `json:"optional"`
	} `json:"configMap"`
	Secret *struct {
		Name     string `json:"name"`
		Items    []item `json:"items"`
		Optional bool   `json:"optional"`
	} `json:"secret"`
}

type item struct {
	Key  string `json:"key"`
	Path string `json:"path"`
	Mode *int   `json:"mode"`
}

// A security is a container's or a pod's. What it forbids, a guest forbids anyway.
type security struct {
	User           *int64 `json:"runAsUser"`
	Group          *int64 `json:"runAsGroup"`
	NonRoot        *bool  `json:"runAsNonRoot"`
	ReadOnlyRoot   *bool  `json:"readOnlyRootFilesystem"`
	Privileged     bool   `json:"privileged"`
	AllowEscalated *bool  `json:"allowPrivilegeEscalation"`
	Capabilities   struct {
		Add  []string `json:"add"`
		Drop []string `json:"drop"`
	} `json:"capabilities"`
	Seccomp any    `json:"seccompProfile"`
	FSGroup *int64 `json:"fsGroup"`
}

// A handler is what a kubelet does as a container begins or ends.
type handler struct {
	Exec  *execution `json:"exec"`
	HTTP  any        `json:"httpGet"`
	TCP   any        `json:"tcpSocket"`
	Sleep any        `json:"sleep"`
}

type execution struct {
	Command []string `json:"command"`
}

// A probe asks from the node, over the network or by a command.
type probe struct {
	Exec *execution `json:"exec"`

	HTTP             any `json:"httpGet"`
	TCP              any `json:"tcpSocket"`
	GRPC             any `json:"grpc"`
	InitialDelay     any `json:"initialDelaySeconds"`
	Timeout          any `json:"timeoutSeconds"`
	Period           any `json:"periodSeconds"`
	Success          any `json:"successThreshold"`
	Failure          any `json:"failureThreshold"`
	TerminationGrace any `json:"terminationGracePeriodSeconds"`
}
