// Command holdfast-policy is a CNI plugin that comes behind the one that gave a
// pod its address. It tells the node's agent, and returns when the pod's
// NetworkPolicies hold: before anything of the pod runs.
//
// https://www.cni.dev/docs/spec/
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	build "github.com/containernetworking/plugins/pkg/utils/buildversion"
)

const patience = 25 * time.Second

type config struct {
	types.NetConf
	Socket string `json:"socket"` // of the agent
}

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Check: nothing, Del: nothing}, version.All, build.BuildString("holdfast-policy"))
}

func nothing(*skel.CmdArgs) error { return nil }

func add(args *skel.CmdArgs) error {
	var c config
	if err := json.Unmarshal(args.StdinData, &c); err != nil {
		return err
	}
	if err := version.ParsePrevResult(&c.NetConf); err != nil {
		return err
	}
	if c.PrevResult == nil {
		return errors.New("it comes first: want a plugin before it that gives addresses")
	}
	result, err := current.NewResultFromResult(c.PrevResult)
	if err != nil {
		return err
	}
	for _, ip := range result.IPs {
		if err := admit(c.Socket, args.Args, ip.Address.IP); err != nil {
			return fmt.Errorf("network policies: %w", err)
		}
	}
	return types.PrintResult(c.PrevResult, c.CNIVersion)
}

// admit asks the agent. Words are CNI_ARGS: K8S_POD_NAME=x;...
func admit(socket, words string, ip net.IP) error {
	pod := map[string]string{}
	for word := range strings.SplitSeq(words, ";") {
		key, value, _ := strings.Cut(word, "=")
		pod[key] = value
	}
	conn, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return fmt.Errorf("the node's agent does not answer: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(map[string]string{
		"namespace": pod["K8S_POD_NAMESPACE"], "name": pod["K8S_POD_NAME"], "uid": pod["K8S_POD_UID"], "address": ip.String(),
	}); err != nil {
		return err
	}
	var answer struct{ Error string }
	if err := json.NewDecoder(conn).Decode(&answer); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	} else if err != nil {
		return errors.New("the node's agent did not answer in time")
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}
