// The Kubernetes plugin of Pulumi.
//
// The published module has no files for its own main package to embed: they are generated before a
// release. So this one embeds the sources of those files, which the build takes out of the module.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

//go:embed schema.json
var schema []byte

//go:embed terraform-mapping.json
var terraformMapping []byte

func main() {
	// The schema is a JSON object, and all that it lacks is the version of the release.
	versioned := append([]byte(`{"version": "`+version.Version+`",`), schema[1:]...)
	provider.Serve("kubernetes", version.Version, versioned, terraformMapping)
}
