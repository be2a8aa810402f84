# What Vagrant makes of the Vagrantfile for one provider, as JSON: for each machine its box, its
# networks, keys, synced folders, provisioners and the provider's own settings. Run in the checkout.
require "vagrant"
require "json"

provider = ARGV.fetch(0).to_sym
environment = Vagrant::Environment.new(cwd: Dir.pwd, ui_class: Vagrant::UI::Silent)
file = environment.vagrantfile
machines = file.machine_names.map do |name|
  config = file.machine_config(name, provider, environment.boxes, nil, false)[:config]
  settings = config.vm.get_provider_config(provider)
  values = settings.instance_variables.map { |key| [key.to_s.delete("@"), settings.instance_variable_get(key)] }
  {
    name: name, box: config.vm.box, hostname: config.vm.hostname, key: config.ssh.private_key_path,
    networks: config.vm.networks.map { |kind, options| { kind: kind, **options } },
    folders: config.vm.synced_folders,
    provisioners: config.vm.provisioners.map { |item| { name: item.name, run: item.run, args: item.config.args } },
    provider: values.to_h.reject { |key, _| key.start_with?("__") }
  }
end
puts JSON.generate(machines)
