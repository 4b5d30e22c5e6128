package ignition

import (
	"net/url"
	"reflect"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"
)

// NeedsNet says whether applying a config takes the network: for a source, or
// for a server that binds a volume.
func NeedsNet(c types.Config) bool { return needsNet(reflect.ValueOf(c)) }

func needsNet(v reflect.Value) bool {
	switch node := v.Interface().(type) {
	case types.Resource:
		return remote(node)
	case types.Tang:
		return !util.NotEmpty(node.Advertisement)
	case types.ClevisCustom:
		return util.IsTrue(node.NeedsNetwork)
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if needsNet(v.Field(i)) {
				return true
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if needsNet(v.Index(i)) {
				return true
			}
		}
	case reflect.Pointer:
		return !v.IsNil() && needsNet(v.Elem())
	}
	return false
}

// remote says whether only the network has a resource.
func remote(r types.Resource) bool {
	if r.Source == nil {
		return false
	}
	u, err := url.Parse(*r.Source)
	if err != nil {
		return false
	}
	switch u.Scheme {
	case "http", "https", "tftp", "s3", "arn", "gs":
		return true
	}
	return false
}
