module lecture.lab/toolchain/pulumi-kubernetes

go 1.24.0

require github.com/pulumi/pulumi-kubernetes v1.6.0

replace (
	github.com/Azure/go-autorest => github.com/Azure/go-autorest v14.2.0+incompatible
	vbom.ml/util => github.com/fvbommel/util v0.0.0-20180919145318-efcd4e0f9787
)
